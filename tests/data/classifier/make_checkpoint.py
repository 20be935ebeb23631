"""Writes model_best.pth.tar: a tiny MHLA classifier in the layout of timm's training checkpoints (needs torch).

The averaged weights (state_dict_ema) are the model; state_dict holds other numbers, so that a test sees which was read.
"""
import argparse
import pathlib

import torch

C, HEADS, PATCH, CLASSES, HIDDEN, BLOCKS = 16, 2, 2, 5, 32, 16
shapes = {
    "pos_embed": (1, 256, C),
    "patch_embed.proj.weight": (C, 3, PATCH, PATCH),
    "patch_embed.proj.bias": (C,),
    "blocks.0.norm1.weight": (C,),
    "blocks.0.norm1.bias": (C,),
    "blocks.0.attn.norm.weight": (C,),
    "blocks.0.attn.norm.bias": (C,),
    "blocks.0.attn.to_qkv.weight": (3 * C, C),
    "blocks.0.attn.q_norm.weight": (C,),
    "blocks.0.attn.k_norm.weight": (C,),
    "blocks.0.attn.lepe.weight": (C, 1, 5, 5),
    "blocks.0.attn.lepe.bias": (C,),
    "blocks.0.attn.piece_attn.conv.weight": (BLOCKS, BLOCKS, 1, 1),
    "blocks.0.attn.to_out.0.weight": (C, C),
    "blocks.0.attn.to_out.0.bias": (C,),
    "blocks.0.norm2.weight": (C,),
    "blocks.0.norm2.bias": (C,),
    "blocks.0.mlp.fc1.weight": (HIDDEN, C),
    "blocks.0.mlp.fc1.bias": (HIDDEN,),
    "blocks.0.mlp.fc2.weight": (C, HIDDEN),
    "blocks.0.mlp.fc2.bias": (C,),
    "fc_norm.weight": (C,),
    "fc_norm.bias": (C,),
    "head.weight": (CLASSES, C),
    "head.bias": (CLASSES,),
}
generator = torch.Generator().manual_seed(1)
ema = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
ema["blocks.0.attn.piece_attn.conv.weight"] = ema["blocks.0.attn.piece_attn.conv.weight"].abs() + 0.01
checkpoint = {
    "epoch": 3,
    "arch": "deit_tiny_pla_1d_v6_6",
    "state_dict": {"module." + name: torch.zeros_like(tensor) for name, tensor in ema.items()},
    "state_dict_ema": {"module." + name: tensor for name, tensor in ema.items()},
    "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
    "args": argparse.Namespace(model="deit_tiny_pla_1d_v6_6", opt="adamw"),
    "metric": 0.5,
}
torch.save(checkpoint, pathlib.Path(__file__).with_name("model_best.pth.tar"))
