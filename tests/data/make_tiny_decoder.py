"""Makes tests/data/fixtures/tiny_decoder: the decoder of TAEHV in narrow widths with random weights, and what it makes
of random latents without temporal upscaling. TAEHV_PY is taehv.py of https://github.com/madebyollin/taehv at
1f14a568f24bf8811e0a0ac601613e04fc1581e8. Run: python make_tiny_decoder.py TAEHV_PY OUTPUT_FOLDER"""

import importlib.util
import json
import pathlib
import sys
import types

import torch
from safetensors.torch import save_file
from torch import nn

RUNS = [
    {"name": "wan21", "z_dim": 16, "patch_size": 1, "widths": [12, 8, 6, 6], "frames_per_latent": [1, 2, 2], "shape": [3, 4, 5]},
    {"name": "image", "z_dim": 16, "patch_size": 1, "widths": [12, 8, 6, 6], "frames_per_latent": [1, 2, 2], "shape": [1, 3, 2]},
    {"name": "patched", "z_dim": 6, "patch_size": 2, "widths": [8, 6, 4, 4], "frames_per_latent": [2, 2, 2], "shape": [4, 2, 3]},
]


def reference(path):
    """The reference's module; its progress bar is not needed."""
    sys.modules.setdefault("tqdm", types.ModuleType("tqdm"))
    sys.modules.setdefault("tqdm.auto", types.SimpleNamespace(tqdm=lambda x, **_: x))
    spec = importlib.util.spec_from_file_location("taehv", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def narrow(module, run):
    """A TAEHV whose layers have other widths: built by its own classes in the places of its own sequence."""
    full = module.TAEHV(checkpoint_path=None, decoder_time_upscale=[n == 2 for n in run["frames_per_latent"]],
                        patch_size=run["patch_size"], latent_channels=run["z_dim"])
    widths, level, layers = run["widths"], 0, []
    for layer in full.decoder:
        if isinstance(layer, module.MemBlock):
            layer = module.MemBlock(widths[level], widths[level])
        elif isinstance(layer, module.TGrow):
            layer = module.TGrow(widths[level], layer.stride)
        elif isinstance(layer, nn.Conv2d):
            first, last = layer.in_channels == run["z_dim"] and not layers[1:], layer is full.decoder[-1]
            to = layer.out_channels if last else widths[0] if first else widths[level + 1]
            layer = module.conv(run["z_dim"] if first else widths[level], to, bias=layer.bias is not None)
            level += 0 if first or last else 1
        layers.append(layer)
    full.decoder = nn.Sequential(*layers)
    return full


def main(path, folder):
    module = reference(path)
    tensors, weights = {}, {}
    for index, run in enumerate(RUNS):
        torch.manual_seed(40 + index)
        model = narrow(module, run).eval()
        with torch.no_grad():
            for value in model.decoder.parameters():  # larger than the default, so that pictures are not gray
                value.mul_(1.6)
            model.decoder[-1].bias.fill_(0.5)
        state = {k: v for k, v in model.state_dict().items() if k.startswith("decoder.")}
        latents = 1.5 * torch.randn(1, run["z_dim"], *run["shape"])
        preview = narrow(module, {**run, "frames_per_latent": [1, 1, 1]}).eval()
        preview.load_state_dict({**preview.state_dict(), **preview.patch_tgrow_layers(dict(state))})
        with torch.no_grad():
            pictures = preview.decode_video(latents.transpose(1, 2), show_progress_bar=False)
        tensors[run["name"] + ".latents"] = latents
        tensors[run["name"] + ".pictures"] = pictures[0]
        weights.update({run["name"] + "." + k: v for k, v in state.items()})
        print(run["name"], tuple(pictures.shape), [round(float(v), 3) for v in (pictures.mean(), pictures.std())])
    folder.mkdir(parents=True, exist_ok=True)
    about = "TAEHV's decoder, narrow and random, without temporal upscaling; made by make_tiny_decoder.py"
    (folder / "config.json").write_text(json.dumps({"about": about, "runs": RUNS}, indent=1) + "\n")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "io.safetensors")
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, folder / "weights.safetensors")


main(sys.argv[1], pathlib.Path(sys.argv[2]))
