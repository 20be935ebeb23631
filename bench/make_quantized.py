#!/usr/bin/env python3
"""Writes a Wan 2.1 release of the true shapes with random quantized weights, to measure memory and time without the real ones: the
transformer and the UMT5-XXL encoder as GGUF, and the small autoencoder and tokenizer of a test fixture. Needs numpy alone.

    bench/make_quantized.py 1.3B|14B FOLDER [--type Q4_K|Q8_0]
    tessera generate "a cat" --model FOLDER --size 64x64 --frames 1 --steps 1 --cfg-scale 1 --max-sequence-length 16 -o x.png
"""
import argparse
import pathlib
import shutil
import struct

import numpy

FIXTURE = pathlib.Path(__file__).parent.parent / "tests/data/fixtures/wan_pipeline/pipeline"
SIZES = {"1.3B": (1536, 8960, 30), "14B": (5120, 13824, 40)}
F32 = (0, 1, 4)
TYPES = {"Q4_K": (12, 256, 144), "Q8_0": (8, 32, 34)}  # ggml's number, numbers and bytes of a block


def random_blocks(kind, columns, count):
    """`count` bytes of valid blocks whose numbers are about as large as a trained matrix's."""
    _, numbers, length = TYPES[kind]
    blocks = numpy.random.default_rng(1).integers(0, 256, (max(1, (32 << 20) // length), length), dtype=numpy.uint8)
    size = 1.7 / columns**0.5
    factors = {"Q4_K": [(0, size / (32 * 7.5)), (2, size / 32)], "Q8_0": [(0, size / 127)]}[kind]
    for place, value in factors:
        blocks[:, place:place + 2] = numpy.full(len(blocks), value, numpy.float16).view(numpy.uint8).reshape(-1, 2)
    data = blocks.tobytes()
    for begin in range(0, count, len(data)):
        yield data[:min(len(data), count - begin)]


def write_gguf(path, architecture, tensors, kind):
    """tensors: name -> shape; matrices are of type `kind`, everything else is float32 and small."""
    text = lambda value: struct.pack("<Q", len(value)) + value.encode()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    offset, plan = 0, []
    for name, shape in tensors.items():
        packed = len(shape) == 2 and "rel_b" not in name
        number, numbers, length = TYPES[kind] if packed else F32
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += struct.pack("<IQ", number, offset)
        count = int(numpy.prod(shape)) // numbers * length
        plan.append((name, shape, packed, count))
        offset += count + -count % 32
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for name, shape, packed, count in plan:
            if packed:
                for part in random_blocks(kind, shape[-1], count):
                    file.write(part)
            else:
                ones = "norm" in name and name.endswith("weight")
                file.write(numpy.full(count // 4, 1 if ones else 0.01, numpy.float32).tobytes())
            file.write(bytes(-count % 32))


def wan(width, hidden, layers):
    shapes = {"patch_embedding.weight": (width, 16, 1, 2, 2), "patch_embedding.bias": (width,)}

    def linear(name, out, inside):
        shapes[name + ".weight"], shapes[name + ".bias"] = (out, inside), (out,)

    linear("text_embedding.0", width, 4096), linear("text_embedding.2", width, width)
    linear("time_embedding.0", width, 256), linear("time_embedding.2", width, width), linear("time_projection.1", 6 * width, width)
    for block in range(layers):
        stem = f"blocks.{block}."
        for kind in ("self_attn", "cross_attn"):
            for part in "qkvo":
                linear(f"{stem}{kind}.{part}", width, width)
            shapes[f"{stem}{kind}.norm_q.weight"] = shapes[f"{stem}{kind}.norm_k.weight"] = (width,)
        shapes[stem + "norm3.weight"] = shapes[stem + "norm3.bias"] = (width,)
        linear(stem + "ffn.0", hidden, width), linear(stem + "ffn.2", width, hidden)
        shapes[stem + "modulation"] = (1, 6, width)
    linear("head.head", 64, width)
    return shapes | {"head.modulation": (1, 2, width)}


def umt5():
    shapes = {"token_embd.weight": (256384, 4096), "enc.output_norm.weight": (4096,)}
    for block in range(24):
        stem = f"enc.blk.{block}."
        shapes |= {f"{stem}attn_{part}.weight": (4096, 4096) for part in "qkvo"}
        shapes |= {stem + "ffn_gate.weight": (10240, 4096), stem + "ffn_up.weight": (10240, 4096), stem + "ffn_down.weight": (4096, 10240),
                   stem + "attn_rel_b.weight": (32, 64), stem + "attn_norm.weight": (4096,), stem + "ffn_norm.weight": (4096,)}
    return shapes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--type", choices=TYPES, default="Q4_K")
    options = parser.parse_args()
    (options.folder / "google/umt5-xxl").mkdir(parents=True)
    write_gguf(options.folder / f"wan2.1-t2v-{options.size}-{options.type}.gguf", "wan", wan(*SIZES[options.size]), options.type)
    write_gguf(options.folder / f"umt5-xxl-encoder-{options.type}.gguf", "t5encoder", umt5(), options.type)
    shutil.copy(FIXTURE / "tokenizer/spiece.model", options.folder / "google/umt5-xxl/spiece.model")
    shutil.copy(FIXTURE / "vae/diffusion_pytorch_model.safetensors", options.folder / "Wan2.1_VAE.safetensors")


main()
