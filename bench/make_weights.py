"""Writes FID Inception weights drawn from a formula (that of the parity fixture `inception`): the published shapes and names.

Usage: make_weights.py FOLDER [SEED]
Writes pt_inception-2015-12-05-6726825d.pth (pytorch-fid's name), weights-inception-2015-12-05-6726825d.pth (torch-fidelity's) and
fid_inception.safetensors, all with the same tensors. They stand in for the published file, which a machine without
a network cannot have: speed and agreement between tools do not depend on what the weights are.
"""

import math
import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
import torchvision
from pytorch_fid import inception


def formula(key, shape, seed):
    h = 2166136261
    for byte in key.encode():
        h = ((h ^ byte) * 16777619) & 0xFFFFFFFF
    count = math.prod(shape)
    x = (np.arange(count, dtype=np.uint64) * 0x9E3779B1 + h + seed).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x = (x.astype(np.uint64) * 0x7FEB352D).astype(np.uint32)
    x ^= x >> np.uint32(15)
    x = (x.astype(np.uint64) * 0x846CA68B).astype(np.uint32)
    x ^= x >> np.uint32(16)
    u = (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    if key.endswith("conv.weight") or key == "fc.weight":
        u = u * np.float32(math.sqrt(6.0 / math.prod(shape[1:])))
    elif key.endswith("bn.weight"):
        u = 1 + np.float32(0.25) * u
    elif key.endswith("running_var"):
        u = 1 + np.float32(0.5) * u
    else:
        u = np.float32(0.25) * u
    return torch.from_numpy(u.reshape(shape).astype(np.float32))


def main():
    folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12345
    folder.mkdir(parents=True, exist_ok=True)
    captured = {}
    inception.load_state_dict_from_url = lambda *_, **__: captured["state"]
    plain = torchvision.models.inception_v3
    # The key list comes from the module itself: build it once without weights.
    names = {}

    class Stop(Exception):
        pass

    def load(self, state, *args, **kwargs):
        names.update({k: tuple(v.shape) for k, v in self.state_dict().items()})
        raise Stop

    torchvision.models.Inception3.load_state_dict, original = load, torchvision.models.Inception3.load_state_dict
    captured["state"] = {}
    try:
        inception.fid_inception_v3()
    except Stop:
        pass
    torchvision.models.Inception3.load_state_dict = original
    assert plain is torchvision.models.inception_v3
    state = {k: torch.tensor(0) if k.endswith("num_batches_tracked") else formula(k, s, seed) for k, s in names.items()}
    torch.save(state, folder / "pt_inception-2015-12-05-6726825d.pth")
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(kept | {k: v for k, v in state.items() if k not in kept}, folder / "weights-inception-2015-12-05-6726825d.pth")
    safetensors.torch.save_file(kept, folder / "fid_inception.safetensors")


if __name__ == "__main__":
    main()
