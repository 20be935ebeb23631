"""Writes tests/data/fixtures/dit_training: ten optimizer steps of a tiny DiTTransformer2DModel with the loss of
facebookresearch/DiT. The network is that of the fixture dit_pipeline, which learns its variance.
Usage: make_dit_training.py FOLDER_OF_FACEBOOKRESEARCH_DIT    Needs torch, numpy, diffusers 0.42.1 and safetensors."""

import json
import pathlib
import sys

import torch
from diffusers import DiTTransformer2DModel
from safetensors.torch import save_file

sys.path.insert(0, sys.argv[1])
from diffusion import create_diffusion  # noqa: E402

here = pathlib.Path(__file__).parent / "fixtures"
folder = here / "dit_training"
folder.mkdir(exist_ok=True)
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(41)
STEPS, BATCH = 10, 4
OPTIMIZER = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01}
CLIP = 0.5
TIMESTEPS = [0, 1, 400, 999]  # of the first step: both ends, where the bound is another one and where it is largest

model = DiTTransformer2DModel.from_pretrained(here / "dit_pipeline/pipeline/transformer").eval()  # no random dropping
# adaLN-zero begins where most gradients are zero.
for name, weight in model.named_parameters():
    if not weight.detach().any():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.05
diffusion = create_diffusion(timestep_respacing="")
side, channels = model.config.sample_size, model.config.in_channels
inputs = {}
for step in range(STEPS):
    for name in ("latents", "noise"):
        inputs[f"{step}.{name}"] = torch.randn((BATCH, channels, side, side), generator=generator)
    times = torch.randint(0, 1000, (BATCH,), generator=generator)
    inputs[f"{step}.timesteps"] = torch.tensor(TIMESTEPS) if step == 0 else times
    inputs[f"{step}.classes"] = torch.randint(0, 1001, (BATCH,), generator=generator)  # 1000: none

weights = dict(model.named_parameters())
recorded = [name for name, weight in weights.items() if weight.numel() < 20000]  # not the tables of classes
out = {f"start/{name}": weights[name].detach().clone() for name in recorded}
optimizer = torch.optim.AdamW(weights.values(), **OPTIMIZER)
losses, norms = [], []
for step in range(STEPS):
    optimizer.zero_grad()
    latents, noise, t, y = (inputs[f"{step}.{name}"] for name in ("latents", "noise", "timesteps", "classes"))
    network = lambda x, t, y: model(x, timestep=t, class_labels=y).sample
    terms = diffusion.training_losses(network, latents, t, {"y": y}, noise)
    if step == 0:
        out |= {"terms/mse": terms["mse"].detach(), "terms/vb": terms["vb"].detach()}
    loss = terms["loss"].mean()
    loss.backward()
    if step == 0:
        out |= {f"gradient/{name}": weights[name].grad.clone() for name in recorded}
    losses.append(loss.item())
    norms.append(torch.nn.utils.clip_grad_norm_(weights.values(), CLIP).item())
    optimizer.step()
out |= {f"trained/{name}": weights[name].detach().clone() for name in recorded}
out["losses"], out["norms"] = torch.tensor(losses, dtype=torch.float64), torch.tensor(norms, dtype=torch.float64)
print("losses", losses, "norms", norms)
save_file({key: value.contiguous() for key, value in inputs.items()}, folder / "io.safetensors")
save_file({key: value.contiguous() for key, value in out.items()}, folder / "full.safetensors")
(folder / "config.json").write_text(json.dumps({
    "about": "torch AdamW on diffusers 0.42.1 DiTTransformer2DModel with the loss of facebookresearch/DiT",
    "dtype": "float32", "steps": STEPS, "clip": CLIP, "learning_rate": OPTIMIZER["lr"],
    "beta1": OPTIMIZER["betas"][0], "beta2": OPTIMIZER["betas"][1], "eps": OPTIMIZER["eps"],
    "weight_decay": OPTIMIZER["weight_decay"],
    "notes": "weights: fixture dit_pipeline, with `start/` in place of what was zero there. io: `<step>.latents`, noise, "
             "timesteps, classes. full: losses and norms before each step, `terms/` and `gradient/` of the first step, "
             "`trained/` after the last; tables of classes are not recorded.",
}, indent=1))
