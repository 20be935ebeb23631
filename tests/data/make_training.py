"""Writes tests/data/fixtures/wan_training: ten optimizer steps of a tiny WanTransformer3DModel, in full and with a LoRA
of PEFT, as torch, diffusers and PEFT do them. The network is that of the fixture wan_lora.
Needs torch, diffusers 0.42.1, peft and safetensors."""

import json
import pathlib

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).parent / "fixtures"
folder = here / "wan_training"
folder.mkdir(exist_ok=True)
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(31)
MODEL = json.loads((here / "wan_lora" / "config.json").read_text())["model"]
STEPS, RANK, ALPHA = 10, 3, 6
OPTIMIZER = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01}
CLIP = 0.5
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


def randn(*shape):
    return torch.randn(shape, generator=generator)


inputs = {}
for step in range(STEPS):
    inputs[f"{step}.latents"], inputs[f"{step}.noise"] = randn(2, 4, 2, 4, 6), randn(2, 4, 2, 4, 6)
    inputs[f"{step}.times"] = torch.rand(2, generator=generator) * 0.9 + 0.05
    inputs[f"{step}.context"] = randn(2, 5, 16)


def new_model():
    model = WanTransformer3DModel(**MODEL)
    model.load_state_dict(load_file(here / "wan_lora" / "weights.safetensors"))
    return model.train()


def loss_of(model, step):
    latents, noise, t = (inputs[f"{step}.{name}"] for name in ("latents", "noise", "times"))
    sigma = t.view(-1, 1, 1, 1, 1)
    noisy = (1 - sigma) * latents + sigma * noise
    velocity = model(noisy, t * 1000, inputs[f"{step}.context"], return_dict=False)[0]
    return torch.nn.functional.mse_loss(velocity, noise - latents)


def train(model, name_of):
    """Losses, gradient norms, the gradients of the first step, and the weights after the last."""
    weights = {name_of(name): weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), **OPTIMIZER)
    losses, norms, out = [], [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        if step == 0:
            out |= {f"gradient/{name}": weight.grad.clone() for name, weight in weights.items()}
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(weights.values(), CLIP).item())
        optimizer.step()
    out |= {f"trained/{name}": weight.detach().clone() for name, weight in weights.items()}
    out["losses"], out["norms"] = torch.tensor(losses, dtype=torch.float64), torch.tensor(norms, dtype=torch.float64)
    print("losses", losses, "norms", norms)
    return out


def save(name, tensors, metadata=None):
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name, metadata)


save("io.safetensors", inputs)
save("full.safetensors", train(new_model(), lambda name: name))

model = new_model()
model.requires_grad_(False)
torch.manual_seed(32)
config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS)
model.add_adapter(config)
plain = lambda name: name.replace(".lora_A.default.", ".lora_A.").replace(".lora_B.default.", ".lora_B.")
start = {f"start/{plain(name)}": weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
for name, weight in start.items():
    assert name.endswith("lora_B.weight") == bool((weight == 0).all()), name
    assert weight.abs().max() <= weight.shape[1] ** -0.5 or name.endswith("lora_B.weight"), name
save("lora.safetensors", start | train(model, plain))

# What diffusers itself writes for this LoRA, and a file as tessera writes it, read back by diffusers.
WanPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(model),
                              transformer_lora_adapter_metadata=config.to_dict())
ours = {f"transformer.{plain(name)}": weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
said = {"transformer.r": RANK, "transformer.lora_alpha": float(ALPHA), "transformer.target_modules": TARGETS}
save_file(ours, folder / "ours.safetensors", {"format": "pt", "lora_adapter_metadata": json.dumps(said)})
other = new_model()
pipe = WanPipeline(tokenizer=None, text_encoder=None, vae=None, transformer=other,
                   scheduler=FlowMatchEulerDiscreteScheduler())
pipe.load_lora_weights(str(folder / "ours.safetensors"))
with torch.no_grad():
    difference = abs(loss_of(other, 0) - loss_of(model, 0)).item()
(folder / "ours.safetensors").unlink()
assert difference < 1e-6, difference
theirs = load_file(folder / "pytorch_lora_weights.safetensors")
assert sorted(theirs) == sorted(ours), set(theirs) ^ set(ours)

(folder / "config.json").write_text(json.dumps({
    "about": "torch AdamW on diffusers 0.42.1 WanTransformer3DModel, in full and with a LoRA of PEFT",
    "dtype": "float32", "steps": STEPS, "rank": RANK, "alpha": ALPHA, "targets": TARGETS, "clip": CLIP,
    "learning_rate": OPTIMIZER["lr"], "beta1": OPTIMIZER["betas"][0], "beta2": OPTIMIZER["betas"][1],
    "eps": OPTIMIZER["eps"], "weight_decay": OPTIMIZER["weight_decay"],
    "notes": "weights and model: fixture wan_lora. io: `<step>.latents`, noise, times, context. full and lora: losses and "
             "norms before each step, `gradient/` of the first step before clipping, `trained/` after the last, `start/` "
             "of the LoRA. pytorch_lora_weights.safetensors is what diffusers' save_lora_weights writes.",
}, indent=1))
