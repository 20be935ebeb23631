#!/usr/bin/env python3
"""Writes a Wan 2.2 TI2V-5B pipeline directory of the true shapes with random bfloat16 weights, to measure memory and time without the
real ones: names and shapes are those of tests/data/keys, the tokenizer is a test fixture's. Needs numpy alone.

    bench/make_ti2v.py FOLDER [--text-layers 2]
    tessera generate "a cat" --model FOLDER --size 736x416 --frames 17 --steps 2 --dtype bf16 -o x.mp4
"""
import argparse
import json
import math
import pathlib
import re
import shutil
import struct

import numpy

DATA = pathlib.Path(__file__).parent.parent / "tests/data"
TOKENIZER = DATA / "fixtures/wan_pipeline/pipeline/tokenizer"
TRANSFORMER = dict(_class_name="WanTransformer3DModel", num_attention_heads=24, attention_head_dim=128, in_channels=48, out_channels=48,
                   ffn_dim=14336, num_layers=30, text_dim=4096, freq_dim=256, patch_size=[1, 2, 2], cross_attn_norm=True, eps=1e-6,
                   qk_norm="rms_norm_across_heads")
VAE = dict(_class_name="AutoencoderKLWan", base_dim=160, decoder_base_dim=256, z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
           attn_scales=[], temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
           scale_factor_spatial=16, scale_factor_temporal=4, latents_mean=[0.0] * 48, latents_std=[1.0] * 48)
TEXT = dict(architectures=["UMT5EncoderModel"], model_type="umt5", d_model=4096, d_kv=64, d_ff=10240, num_heads=64, vocab_size=256384,
            feed_forward_proj="gated-gelu", is_gated_act=True, dense_act_fn="gelu_new", layer_norm_epsilon=1e-6,
            relative_attention_num_buckets=32, relative_attention_max_distance=128)
SCHEDULER = dict(_class_name="UniPCMultistepScheduler", prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000,
                 solver_order=2, flow_shift=5.0)
INDEX = dict(_class_name="WanPipeline", expand_timesteps=True, scheduler=["diffusers", "UniPCMultistepScheduler"],
             text_encoder=["transformers", "UMT5EncoderModel"], tokenizer=["transformers", "T5Tokenizer"],
             transformer=["diffusers", "WanTransformer3DModel"], vae=["diffusers", "AutoencoderKLWan"])
NORMAL = numpy.random.default_rng(1).standard_normal(1 << 22, numpy.float32)


def shapes(name, layers=None):
    """Name -> shape of a list of tests/data/keys, where NAME.{0-29}.x stands for 30 names; of `layers` of them, if given."""
    found = {}
    for line in (DATA / f"keys/{name}.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        key, sizes = line.split()
        shape = tuple(map(int, sizes.split("x")))
        spans = re.search(r"\{(.*)\}", key)
        for span in spans[1].split(",") if spans else [None]:
            first, _, last = (span or "0").partition("-")
            for layer in range(int(first), min(int(last or first) + 1, layers or 1 << 20)):
                found[key[:spans.start()] + str(layer) + key[spans.end():] if spans else key] = shape
    return found


def bf16(values):
    return (values.view(numpy.uint32) >> 16).astype(numpy.uint16)


def numbers(name, shape):
    """Parts of the tensor: ones for the factors of norms, else normal numbers, small in a bias, of the size that keeps a product's."""
    count = math.prod(shape)
    if "norm" in name and not name.endswith("bias"):
        yield bf16(numpy.ones(count, numpy.float32))
        return
    size = 0.02 if len(shape) == 1 else shape[1] ** -0.5 if "table" in name or "shared" in name else math.prod(shape[1:]) ** -0.5
    block = bf16(NORMAL * numpy.float32(size))
    for begin in range(0, count, len(block)):
        yield block[:count - begin]


def write_safetensors(path, tensors):
    path.parent.mkdir(parents=True)
    header, offset = {}, 0
    for name, shape in tensors.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            for part in numbers(name, shape):
                file.write(part)
    print(path, round(offset / 1e9, 2), "GB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--text-layers", type=int, default=24, help="layers of UMT5-XXL's 24")
    options = parser.parse_args()
    folder = options.folder
    write_safetensors(folder / "transformer/diffusion_pytorch_model.safetensors", shapes("diffusers_wan2.2_ti2v_5b"))
    write_safetensors(folder / "vae/diffusion_pytorch_model.safetensors", shapes("diffusers_wan2.2_vae"))
    write_safetensors(folder / "text_encoder/model.safetensors", shapes("transformers_umt5_xxl", options.text_layers))
    shutil.copytree(TOKENIZER, folder / "tokenizer")
    (folder / "scheduler").mkdir()
    files = {"transformer/config": TRANSFORMER, "vae/config": VAE, "text_encoder/config": TEXT | {"num_layers": options.text_layers},
             "scheduler/scheduler_config": SCHEDULER, "model_index": INDEX}
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
