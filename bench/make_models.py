"""Writes model folders of true widths with random weights, the inputs of every part, and how many operations each part takes.

Usage: make_models.py FOLDER LAYERS     LAYERS of Wan's 30; UMT5-XXL gets 2 of its 24, DiT-XL/2 and both autoencoders are whole
FOLDER gets wan-softmax, wan-mhla and wan-hybrid (equal weights wherever they have the same layers), dit, NAME.safetensors for the
inputs, and flops.json. Runs in the Python of bench/requirements.txt. The same LAYERS give the same bytes.
"""

import json
import pathlib
import shutil
import sys

import diffusers
import safetensors.torch
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

import parts
import shapes

TOKENIZER = pathlib.Path(__file__).parent.parent / "tests/data/fixtures/wan_pipeline/pipeline/tokenizer"
UMT5 = dict(d_model=4096, d_kv=64, d_ff=10240, num_heads=64, num_layers=2, vocab_size=512, feed_forward_proj="gated-gelu")
DIT = dict(num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28, sample_size=32, patch_size=2,
           norm_type="ada_norm_zero", num_embeds_ada_norm=1000, attention_bias=True, norm_elementwise_affine=False,
           activation_fn="gelu-approximate")
KL = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 4,
          up_block_types=("UpDecoderBlock2D",) * 4)


def networks(layers):
    """Part of a model folder -> how to make it, on whatever device is current."""
    return {
        "transformer": lambda: diffusers.WanTransformer3DModel(num_layers=layers, **parts.WAN),
        "vae": diffusers.AutoencoderKLWan,
        "text_encoder": lambda: transformers.UMT5EncoderModel(transformers.UMT5Config(**UMT5)),
        "dit": lambda: diffusers.DiTTransformer2DModel(**DIT),
        "kl": lambda: diffusers.AutoencoderKL(**KL),
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_wan(folder, made):
    """The model with softmax attention, and beside it those that share all but the transformer."""
    plain = folder / "wan-softmax"
    for part in ("transformer", "vae", "text_encoder"):
        torch.manual_seed(0)
        made[part]().to(torch.bfloat16).save_pretrained(plain / part)
    diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True).save_pretrained(plain / "scheduler")
    shutil.copytree(TOKENIZER, plain / "tokenizer")
    write_json(plain / "model_index.json", {
        "_class_name": "WanPipeline", "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "WanTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLWan"]})
    weights = safetensors.torch.load_file(plain / "transformer/diffusion_pytorch_model.safetensors")
    config = json.loads((plain / "transformer/config.json").read_text())
    for kind in ("mhla", "hybrid"):
        softmax = shapes.softmax_layers(kind, config["num_layers"])
        attention = {"kind": "mhla", "block_layout": shapes.BLOCK_LAYOUT, "gated": True, "normalizer": "none", "softmax_layers": softmax}
        write_json(folder / f"wan-{kind}/transformer/config.json", config | {"attention": attention})
        added = mhla_weights(config["num_layers"], softmax)
        safetensors.torch.save_file(weights | added, folder / f"wan-{kind}/transformer/diffusion_pytorch_model.safetensors")
        for part in ("scheduler", "text_encoder", "tokenizer", "vae", "model_index.json"):
            (folder / f"wan-{kind}" / part).symlink_to(f"../wan-softmax/{part}")


def mhla_weights(layers, softmax):
    width, heads, generator = 1536, 12, torch.Generator().manual_seed(1)
    blocks = shapes.BLOCK_LAYOUT[0] * shapes.BLOCK_LAYOUT[1] * shapes.BLOCK_LAYOUT[2]
    added = {}
    for layer in sorted(set(range(layers)) - set(softmax)):
        stem = f"blocks.{layer}.attn1."
        added[stem + "block_attn.conv.weight"] = torch.rand(blocks, blocks, 1, 1, generator=generator) * (2 / blocks)
        added[stem + "g_norm.weight"] = torch.ones(width // heads)
        added[stem + "g.weight"] = torch.randn(width, width, generator=generator) / width**0.5
        added[stem + "g.bias"] = torch.zeros(width)
    return {name: value.to(torch.bfloat16) for name, value in added.items()}


def write_dit(folder, made):
    for part, name in (("dit", "transformer"), ("kl", "vae")):
        torch.manual_seed(0)
        made[part]().to(torch.bfloat16).save_pretrained(folder / "dit" / name)
    diffusers.DDIMScheduler(clip_sample=False).save_pretrained(folder / "dit/scheduler")
    write_json(folder / "dit/model_index.json", {
        "_class_name": "DiTPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]})


def count_operations(made):
    """Name of the inputs -> operations (two a multiply-add) of diffusers' own forward, counted without computing it."""
    counts = {}
    for name, (part, call) in shapes.CALLS.items():
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            # Plain products, which the counter knows; the fused attention takes as many operations.
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                call(made[part]().to(torch.bfloat16).eval(), {key: value.to("meta") for key, value in shapes.inputs(name).items()})
        counts[name] = counter.get_total_flops()
    return counts


def main():
    folder, layers = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    made = networks(layers)
    write_json(folder / "flops.json", count_operations(made))
    write_wan(folder, made)
    write_dit(folder, made)
    for name in shapes.CALLS:
        safetensors.torch.save_file({key: value.contiguous() for key, value in shapes.inputs(name).items()}, folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
