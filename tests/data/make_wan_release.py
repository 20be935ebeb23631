"""Writes tests/data/wan_release: the text encoder of the wan_pipeline fixture as Wan's own .pth has it, and the
wan_mhla_hybrid_small checkpoint as DAGroup-PKU's training code saves one. Needs torch and safetensors."""

import pathlib
import re

import torch
from safetensors.torch import load_file

here = pathlib.Path(__file__).parent
out = here / "wan_release"
out.mkdir(exist_ok=True)

PARTS = {
    "layer.0.layer_norm": "norm1",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.0.SelfAttention": "attn",
    "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
    "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}


def wan_name(name):
    if name == "shared.weight":
        return "token_embedding.weight"
    if name == "encoder.final_layer_norm.weight":
        return "norm.weight"
    block, rest = re.fullmatch(r"encoder\.block\.(\d+)\.(.*)", name).groups()
    for theirs, wan in PARTS.items():
        if rest.startswith(theirs + "."):
            return f"blocks.{block}.{wan}.{rest[len(theirs) + 1:]}"
    raise KeyError(name)


encoder = load_file(here / "fixtures/wan_pipeline/pipeline/text_encoder/model.safetensors")
torch.save({wan_name(name): tensor for name, tensor in encoder.items()}, out / "models_t5_umt5-xxl-enc-bf16.pth")
hybrid = load_file(here / "fixtures/wan_mhla_hybrid_small/weights.safetensors")
torch.save({"state_dict": hybrid, "epoch": 1, "step": 500}, out / "epoch_1_step_500.pth")
