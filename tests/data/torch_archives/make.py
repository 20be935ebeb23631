"""Writes the PyTorch archives that tests/weights/torch_archive_test.cpp reads. Run with PyTorch 2: python make.py

Numbers are small whole ones, so that the test can state them: arange of each shape.
"""
import argparse
import collections
import pathlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent


def arange(*shape, dtype=torch.float32):
    count = int(np.prod(shape))
    return torch.arange(count).reshape(shape).to(dtype)


class Unknown:
    """A class that no reader knows."""

    def __init__(self):
        self.depth = 3


def dtypes():
    names = """float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool uint16 uint32 uint64
               complex64 complex128 float8_e4m3fn float8_e5m2""".split()
    return {name: arange(3).to(getattr(torch, name)) for name in names}


def views():
    base = arange(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "column": base[:, 2],
        "inner": base[1:3, 1:5:2],
        "row": base[3],
        "repeated": torch.tensor([7.0]).expand(2, 3),
        "scalar": torch.tensor(5.0),
        "empty": torch.empty(0, 4),
    }


def checkpoint():
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(arange(2, 3))
        layer.bias.copy_(arange(2))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.0)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = collections.OrderedDict((name, tensor.clone()) for name, tensor in layer.state_dict().items())
    ema = {name: tensor * 2 for name, tensor in state.items()}
    args = argparse.Namespace(model="DiT-S/2", image_size=256, num_classes=1000, lr=1e-4, ema=True, path=None,
                              layout=(3, 5, 10), size=torch.Size([2, 3]), device=torch.device("cuda", 1),
                              dtype=torch.bfloat16)
    return {"model": layer.state_dict(), "ema": ema, "opt": optimizer.state_dict(), "args": args, "epoch": 7,
            "loss": np.float64(0.25), "mean": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "seed": 2**40, "parameter": layer.bias, "unknown": Unknown(), "raw": b"\x00\xff", "none": None,
            "labels": {"cat", "dog"}, "history": [1, -2.5, "three"]}


def save(name, value, **options):
    torch.save(value, HERE / name, **options)


if __name__ == "__main__":
    torch.manual_seed(0)
    save("dtypes.pt", dtypes())
    save("views.pt", views())
    save("checkpoint.pt", checkpoint())
    save("checkpoint_protocol4.pt", checkpoint(), pickle_protocol=4)
    legacy = {"_use_new_zipfile_serialization": False}
    save("dtypes_legacy.pt", {name: tensor for name, tensor in dtypes().items()}, **legacy)
    save("views_legacy.pt", views(), **legacy)
    save("checkpoint_legacy.pt", checkpoint(), **legacy)
    save("quantised.pt", {"w": torch.quantize_per_tensor(arange(4), 0.5, 0, torch.qint8)})
    save("sparse.pt", {"w": torch.eye(2).to_sparse()})
