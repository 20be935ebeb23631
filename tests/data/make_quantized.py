"""Writes the fixtures quantized_blocks, quantized_wan and quantized_umt5: small quantized files and what the reference packages make
of them. Needs torch, numpy, safetensors, gguf, comfy-kitchen, diffusers 0.42 and transformers 5. Usage: make_quantized.py [FOLDER]"""
import json
import pathlib
import sys

import gguf
import numpy
import torch
from comfy_kitchen.backends.eager import quantization as eager
from diffusers import WanTransformer3DModel
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

OUT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "fixtures"
LEGACY = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]
SUPER = [Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K]
FACTORS = {Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
RANGE = {Type.Q2_K: 15 * 3, Type.Q3_K: 32 * 4, Type.Q4_K: 63 * 15, Type.Q5_K: 63 * 31, Type.Q6_K: 128 * 32}
random = numpy.random.default_rng(20)


def random_blocks(kind, rows, columns, size=1.0):
    """Valid blocks of a K type: any bits, with finite factors that keep numbers below about `size`."""
    numbers, length = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // numbers, length), dtype=numpy.uint8)
    for place in FACTORS[kind]:
        factors = (random.uniform(0.2, 1, len(blocks)) * size / RANGE[kind]).astype(numpy.float16)
        blocks[:, place:place + 2] = factors.view(numpy.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def packed(kind, values):
    """The blocks of a type for a matrix, and the numbers that the reference reads from them."""
    if kind in SUPER:
        size = float(numpy.abs(values).max())
        data = random_blocks(kind, values.shape[0], values.shape[1], size)
    else:
        data = gguf.quants.quantize(values.astype(numpy.float32), kind)
    if kind == Type.F32:
        return data, data
    return data, gguf.quants.dequantize(data, kind).reshape(values.shape)


def write_config(folder, config):
    (OUT / folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=1) + "\n")


def quantize(values, kind):
    """A layer as ComfyUI's formats store it: (tensors by ending, its comfy_quant, the numbers read from it)."""
    if kind in ("float8_e4m3fn", "float8_e5m2"):
        dtype = getattr(torch, kind)
        scale = values.abs().max() / torch.finfo(dtype).max
        stored = eager.quantize_per_tensor_fp8(values, scale, dtype)
        return {"weight": stored, "scale": scale}, {"format": kind}, eager.dequantize_per_tensor_fp8(stored, scale, torch.float32)
    if kind == "int8_tensorwise":
        stored, scale = eager.quantize_int8_tensorwise(values)
        return {"weight": stored, "scale": scale}, {"format": kind}, eager.dequantize_int8_simple(stored, scale)
    if kind == "int8_rows":
        stored, scale = eager.quantize_int8_rowwise(values)
        return {"weight": stored, "scale": scale}, {"format": "int8_tensorwise"}, eager.dequantize_int8_simple(stored, scale)
    if kind == "int8_convrot":
        stored, scale = eager.quantize_int8_convrot_weight(values, 16)
        says = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 16}
        return {"weight": stored, "scale": scale}, says, eager.dequantize_int8_convrot_weight(stored, scale, 16)
    assert kind == "int8_blockwise"
    rows, columns = values.shape
    squares = values.view(rows // 32, 32, columns // 32, 32)
    scale = squares.abs().amax((1, 3)) / 127
    stored = (squares / scale[:, None, :, None]).round().clamp(-128, 127).to(torch.int8)
    numbers = (stored.float() * scale[:, None, :, None]).view(rows, columns)
    return {"weight": stored.view(rows, columns), "scale": scale}, {"format": kind, "group_size": 32}, numbers


def text_tensor(value):
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def blocks():
    folder = OUT / "quantized_blocks"
    folder.mkdir(parents=True, exist_ok=True)
    io, scaled = {}, {}
    for kind in LEGACY + SUPER:
        rows, columns = 4, 256
        if kind in LEGACY:
            source = (random.standard_normal((rows, columns)) * random.uniform(0.01, 3, (rows, 1))).astype(numpy.float32)
            source[0, :64] = 0
            source[1, :32] = 0.25
            data = gguf.quants.quantize(source, kind)
            io[f"{kind.name}.source"] = torch.from_numpy(source)
            wild = random.integers(0, 256, (2, data.shape[1]), dtype=numpy.uint8)
            length = gguf.GGML_QUANT_SIZES[kind][1]
            for place in (0, 2) if kind in (Type.Q4_1, Type.Q5_1) else (0,):
                wild.reshape(-1, length)[:, place + 1] &= 0xBF  # no exponent of all ones: finite
            data = numpy.concatenate([data, wild])
        else:
            data = random_blocks(kind, rows + 2, columns)
            data[-1].reshape(1, -1)[0, FACTORS[kind][0] + 1] |= 0x80  # a negative factor
        io[f"{kind.name}.bytes"] = torch.from_numpy(data.copy())
        io[f"{kind.name}.values"] = torch.from_numpy(gguf.quants.dequantize(data, kind))
    kinds = ["float8_e4m3fn", "float8_e5m2", "int8_tensorwise", "int8_rows", "int8_convrot", "int8_blockwise"]
    for kind in kinds:
        source = torch.from_numpy(random.standard_normal((32, 64)).astype(numpy.float32))
        tensors, says, numbers = quantize(source, kind)
        io[f"{kind}.source"], io[f"{kind}.values"] = source, numbers
        scaled |= {f"{kind}.weight": tensors["weight"], f"{kind}.weight_scale": tensors["scale"],
                   f"{kind}.comfy_quant": text_tensor(says)}
    save_file(io, folder / "io.safetensors")
    save_file({k: v.contiguous() for k, v in scaled.items()}, folder / "scaled.safetensors")
    write_config("quantized_blocks", {
        "about": f"gguf {gguf_version()} quants.quantize and dequantize of random blocks; comfy-kitchen's eager quantizers",
        "types": [kind.name for kind in LEGACY + SUPER], "quantized_by_reference": [kind.name for kind in LEGACY],
        "scaled": kinds, "rotated": ["int8_convrot"]})


def gguf_version():
    import importlib.metadata
    return importlib.metadata.version("gguf")


def write_gguf(path, arch, tensors, shapes={}):
    """tensors: name -> (data as stored, type)."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    for name, shape in shapes.items():
        writer.add_array(f"comfy.gguf.orig_shape.{name}", tuple(int(size) for size in shape))
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


OUTSIDE = {"condition_embedder.text_embedder.linear_1": "text_embedding.0", "condition_embedder.text_embedder.linear_2": "text_embedding.2",
           "condition_embedder.time_embedder.linear_1": "time_embedding.0", "condition_embedder.time_embedder.linear_2": "time_embedding.2",
           "condition_embedder.time_proj": "time_projection.1", "proj_out": "head.head", "patch_embedding": "patch_embedding"}
INSIDE = {"attn1.to_out.0": "self_attn.o", "attn2.to_out.0": "cross_attn.o", "attn1.to_": "self_attn.", "attn2.to_": "cross_attn.",
          "attn1.": "self_attn.", "attn2.": "cross_attn.", "norm2": "norm3", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
          "scale_shift_table": "modulation"}


def wan_name(name):
    if name == "scale_shift_table":
        return "head.modulation"
    if not name.startswith("blocks."):
        stem, end = name.rsplit(".", 1)
        return f"{OUTSIDE[stem]}.{end}"
    _, block, rest = name.split(".", 2)
    for ours, theirs in INSIDE.items():
        if rest.startswith(ours):
            return f"blocks.{block}.{theirs}{rest[len(ours):]}"
    raise KeyError(name)


def small_numbers(model):
    """Weights of a trained model's size, so that quantization matters as it does there."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(1 + 0.1 * noise if "norm" in name and name.endswith("weight") else
                        noise / value.shape[-1]**0.5 if value.dim() > 1 else 0.1 * noise)


def in_gguf(state, name_of, kinds, plain=Type.F32):
    """(tensors for write_gguf, the state that the reference reads)."""
    tensors, read, turn = {}, {}, 0
    for name, value in state.items():
        data = value.numpy()
        kind = plain
        if value.dim() == 2 and name.endswith("weight") and min(value.shape) > 16 and "relative" not in name:
            fitting = [k for k in kinds if value.shape[1] % gguf.GGML_QUANT_SIZES[k][0] == 0]
            wide = [k for k in fitting if k in SUPER]
            fitting = wide if wide else fitting
            kind = fitting[turn % len(fitting)]
            turn += 1
        elif value.dim() > 1 and "table" not in name:
            kind = Type.F16 if turn % 2 else Type.F32
        stored, numbers = packed(kind, data)
        tensors[name_of(name)] = (stored, kind)
        read[name] = torch.from_numpy(numpy.ascontiguousarray(numbers)).reshape(value.shape).float()
    return tensors, read


def in_scaled(state, name_of, kinds, legacy=False, prefix=""):
    """(tensors, comfy_quant by layer, the state that the reference reads)."""
    tensors, says, read, turn = {}, {}, {}, 0
    for name, value in state.items():
        theirs = prefix + name_of(name)
        read[name] = tensors[theirs] = value
        if value.dim() != 2 or min(value.shape) <= 16 or not name.endswith("weight") or "relative" in name:
            continue
        layer = theirs.removesuffix(".weight")
        stored, says[layer], read[name] = quantize(value, kinds[turn % len(kinds)])
        turn += 1
        tensors[theirs] = stored["weight"]
        tensors[layer + (".scale_weight" if legacy else ".weight_scale")] = stored["scale"]
        if turn % 3 == 0:
            tensors[layer + (".scale_input" if legacy else ".input_scale")] = torch.tensor(1.0)
    return {k: v.contiguous() for k, v in tensors.items()}, says, read


def wan():
    folder = OUT / "quantized_wan"
    folder.mkdir(parents=True, exist_ok=True)
    config = {"patch_size": [1, 2, 2], "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 16, "out_channels": 16,
              "text_dim": 256, "freq_dim": 256, "ffn_dim": 256, "num_layers": 2, "cross_attn_norm": True, "eps": 1e-6}
    model = WanTransformer3DModel(**config, rope_max_seq_len=1024).eval()
    small_numbers(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(1, 16, 2, 4, 6, generator=generator)
    t, context = torch.tensor([637]), torch.randn(1, 7, 256, generator=generator)
    io, cases = {"x": x, "t": t, "context": context}, []

    def record(file, read):
        model.load_state_dict(read)
        with torch.no_grad():
            io["out." + file] = model(x, t, context, return_dict=False)[0]
        cases.append(file)

    kinds = [Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1] + SUPER
    tensors, read = in_gguf(state, wan_name, kinds)
    write_gguf(folder / "mixed.gguf", "wan", tensors)
    record("mixed.gguf", read)

    # What city96's converter does to shapes that do not fit: rows of 256, and the shape in a key.
    tensors, read = in_gguf(state, lambda name: "model.diffusion_model." + wan_name(name), [Type.Q8_0], Type.F16)
    shapes = {}
    for name, kind in {"patch_embedding.weight": Type.Q8_0, "blocks.0.attn1.to_q.weight": Type.Q4_K,
                       "blocks.1.attn2.to_k.weight": Type.Q6_K}.items():
        stored, numbers = packed(kind, state[name].numpy().reshape(-1, 256))
        theirs = "model.diffusion_model." + wan_name(name)
        tensors[theirs], shapes[theirs] = (stored, kind), state[name].shape
        read[name] = torch.from_numpy(numbers).reshape(state[name].shape)
    write_gguf(folder / "reshaped.gguf", "wan", tensors, shapes)
    record("reshaped.gguf", read)

    tensors, _, read = in_scaled(state, wan_name, ["float8_e4m3fn"], legacy=True, prefix="model.diffusion_model.")
    tensors["model.diffusion_model.scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(tensors, folder / "scaled_fp8.safetensors")
    record("scaled_fp8.safetensors", read)

    tensors, says, read = in_scaled(state, wan_name, ["float8_e4m3fn", "float8_e5m2"], prefix="model.diffusion_model.")
    layers = {name.removeprefix("model.diffusion_model."): value for name, value in says.items()}
    save_file(tensors, folder / "header.safetensors", {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})})
    record("header.safetensors", read)

    kinds = ["int8_tensorwise", "int8_rows", "int8_convrot", "float8_e4m3fn", "int8_blockwise"]
    tensors, says, read = in_scaled(state, lambda name: name, kinds)
    tensors |= {layer + ".comfy_quant": text_tensor(value) for layer, value in says.items()}
    save_file(tensors, folder / "comfy_quant.safetensors")
    record("comfy_quant.safetensors", read)

    plain = {name: value.to(torch.float8_e5m2 if "attn2" in name else torch.float8_e4m3fn) if value.dim() > 1 else value
             for name, value in state.items()}
    save_file({wan_name(name): value for name, value in plain.items()}, folder / "plain_fp8.safetensors")
    record("plain_fp8.safetensors", {name: value.float() for name, value in plain.items()})

    save_file(io, folder / "io.safetensors")
    write_config("quantized_wan", {"about": "diffusers 0.42.1 WanTransformer3DModel with weights that gguf and comfy-kitchen unpacked",
                                   "model": config, "cases": cases})


T5 = {"layer.0.SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.SelfAttention.": "attn_", "layer.0.layer_norm": "attn_norm",
      "layer.1.layer_norm": "ffn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate", "layer.1.DenseReluDense.wi_1": "ffn_up",
      "layer.1.DenseReluDense.wo": "ffn_down"}


def t5_name(name):
    if name == "shared.weight":
        return "token_embd.weight"
    if name == "encoder.final_layer_norm.weight":
        return "enc.output_norm.weight"
    _, _, block, rest = name.split(".", 3)
    for ours, theirs in T5.items():
        if rest.startswith(ours):
            return f"enc.blk.{block}.{theirs}{rest[len(ours):]}"
    raise KeyError(name)


def umt5():
    folder = OUT / "quantized_umt5"
    folder.mkdir(parents=True, exist_ok=True)
    config = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 256, "num_layers": 2, "num_heads": 4,
              "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
              "feed_forward_proj": "gated-gelu"}
    model = UMT5EncoderModel(UMT5Config(**config)).eval()
    small_numbers(model)
    state = {name: value.clone() for name, value in model.state_dict().items() if name != "encoder.embed_tokens.weight"}
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(2, 96, (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:] = 0, 0
    io, cases = {"ids": ids, "mask": mask}, []

    def record(file, read):
        model.load_state_dict(read, strict=False)
        with torch.no_grad():
            io["out." + file] = model(input_ids=ids, attention_mask=mask).last_hidden_state
        cases.append(file)

    tensors, read = in_gguf(state, t5_name, [Type.Q8_0, Type.Q5_0, Type.Q4_K, Type.Q6_K])
    write_gguf(folder / "mixed.gguf", "t5encoder", tensors)
    record("mixed.gguf", read)

    tensors, _, read = in_scaled(state, lambda name: name, ["float8_e4m3fn"], legacy=True)
    tensors |= {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn), "spiece_model": torch.arange(40, dtype=torch.uint8)}
    save_file(tensors, folder / "scaled_fp8.safetensors")
    record("scaled_fp8.safetensors", read)

    tensors, says, read = in_scaled(state, lambda name: name, ["int8_rows", "int8_tensorwise"])
    save_file(tensors, folder / "header.safetensors", {"_quantization_metadata": json.dumps({"layers": says})})
    record("header.safetensors", read)

    save_file(io, folder / "io.safetensors")
    write_config("quantized_umt5", {"about": "transformers 5.24 UMT5EncoderModel with weights that gguf and comfy-kitchen unpacked",
                                    "model": config, "cases": cases})


for name in ("blocks", "wan", "umt5"):
    for old in (OUT / f"quantized_{name}").glob("*"):
        old.unlink()
blocks()
wan()
umt5()
for name in ("blocks", "wan", "umt5"):
    for made in (OUT / f"quantized_{name}").glob("*"):
        made.chmod(0o644)
