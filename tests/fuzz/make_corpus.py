"""Writes the seeds of the fuzz targets: small sound files, and hostile ones that a fuzzer finds late. Run with PyTorch 2, safetensors
and sentencepiece: python make_corpus.py. Inputs that a fuzzer found are added beside them by hand."""
import collections
import io
import json
import pathlib
import pickle
import struct

import sentencepiece
import torch
from safetensors.torch import save

CORPUS = pathlib.Path(__file__).parent / "corpus"


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors():
    header = lambda value, data=b"": struct.pack("<Q", len(text := json.dumps(value).encode())) + text + data
    write("safetensors", "sound", save({"a.weight": torch.ones(2, 3), "b": torch.ones(2, dtype=torch.bfloat16),
                                        "mask": torch.ones(3, dtype=torch.bool)}, {"format": "pt"}))
    write("safetensors", "empty", header({}))
    one = lambda **over: {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | over}
    write("safetensors", "huge", header(one(shape=[2**62, 4], data_offsets=[0, 0])))
    write("safetensors", "outside", header(one(data_offsets=[2**63 - 4, 2**63]), bytes(4)))
    write("safetensors", "overlap", header(one() | {"v": one()["w"]}, bytes(4)))
    write("safetensors", "long_header", struct.pack("<Q", 2**63))
    write("safetensors", "deep", struct.pack("<Q", 5000) + b"[" * 5000)


def scaled_weights():
    text = lambda value: torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
    fp8 = torch.ones(4, 8).to(torch.float8_e4m3fn)
    one = torch.tensor(0.5)
    write("scaled_weights", "marked", save({"scaled_fp8": fp8[0, :2].clone(), "a.weight": fp8, "a.scale_weight": one, "a.scale_input": one.clone()}))
    layers = {"a": {"format": "float8_e4m3fn"}, "b": "int8_tensorwise"}
    int8 = torch.ones(4, 8, dtype=torch.int8)
    write("scaled_weights", "header", save({"a.weight": fp8.view(torch.uint8), "a.weight_scale": one, "b.weight": int8,
                                            "b.weight_scale": torch.ones(4, 1)},
                                           {"_quantization_metadata": json.dumps({"layers": layers})}))
    turned = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 4}
    write("scaled_weights", "comfy_quant", save({"a.weight": int8, "a.weight_scale": torch.ones(4, 1), "a.comfy_quant": text(turned)}))
    square = {"format": "int8_blockwise", "group_size": 4}
    write("scaled_weights", "blocks", save({"a.weight": int8, "a.weight_scale": torch.ones(1, 2), "a.comfy_quant": text(square)}))
    write("scaled_weights", "no_scale", save({"a.weight": int8, "a.comfy_quant": text(square)}))
    write("scaled_weights", "deep", save({"a.weight": int8}, {"_quantization_metadata": "[" * 2000}))
    write("scaled_weights", "bad_scale", save({"a.weight": fp8, "a.weight_scale": torch.tensor(float("nan"))}))


def gguf():
    text = lambda value: struct.pack("<Q", len(value)) + value.encode()
    key = lambda name, kind, value: text(name) + struct.pack("<I", kind) + value
    info = lambda name, sizes, kind, offset: (text(name) + struct.pack("<I", len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes) +
                                              struct.pack("<IQ", kind, offset))

    def file(keys, infos, data=b"", version=3, counts=None):
        head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(infos), len(keys)))) + b"".join(keys) + b"".join(infos)
        return head + bytes(-len(head) % 32) + data

    keys = [key("general.architecture", 8, text("wan")), key("general.alignment", 4, struct.pack("<I", 32)),
            key("comfy.gguf.orig_shape.q4_k", 9, struct.pack("<IQiii", 5, 3, 2, 8, 16)),
            key("words", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
            key("nested", 9, struct.pack("<IQIQB", 9, 1, 0, 1, 7))]
    sizes = {2: 18, 3: 20, 6: 22, 7: 24, 8: 34}
    wide = {10: 84, 11: 110, 12: 144, 13: 176, 14: 210}
    infos, data = [], b""
    for kind, length in (sizes | wide).items():
        infos.append(info("q4_k" if kind == 12 else f"t{kind}", [32 if kind in sizes else 256], kind, len(data)))
        data += bytes(range(length)) + bytes(-length % 32)
    infos.append(info("f16", [3, 2], 1, len(data)))
    data += bytes(32)
    write("gguf", "sound", file(keys, infos, data))
    write("gguf", "version2", file(keys[:1], [info("a", [2], 0, 0)], bytes(8), version=2))
    write("gguf", "counts", file([], [], counts=(2**63, 2**63)))
    write("gguf", "huge", file([], [info("a", [2**62, 2**62], 8, 0)], bytes(64)))
    write("gguf", "outside", file([], [info("a", [32], 8, 2**64 - 32)], bytes(64)))
    write("gguf", "overlap", file([], [info("a", [32], 0, 0), info("b", [32], 0, 32)], bytes(256)))
    write("gguf", "twice", file([], [info("a", [1], 0, 0), info("a", [1], 0, 32)], bytes(64)))
    write("gguf", "long_text", file([text("k") + struct.pack("<IQ", 8, 2**63)], []))
    write("gguf", "long_array", file([text("k") + struct.pack("<IIQ", 9, 12, 2**62)], []))
    write("gguf", "deep", file([text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 500], []))


def torch_archive():
    def saved(value, **options):
        file = io.BytesIO()
        torch.save(value, file, **options)
        return file.getvalue()

    base = torch.arange(8.0)
    value = collections.OrderedDict(base=base, view=base.view(2, 4).t(), half=torch.ones(1).half())
    write("torch_archive", "sound.pt", saved({"ema": value, "epoch": 3, "args": {"lr": 1e-4}}))
    write("torch_archive", "legacy.pt", saved({"state_dict": value}, _use_new_zipfile_serialization=False))
    write("torch_archive", "protocol4.pt", saved({"w": base.to(torch.float8_e4m3fn)}, pickle_protocol=4))

    class System:
        def __reduce__(self):
            import os
            return os.system, ("true",)

    write("torch_archive", "os_system.pkl", pickle.dumps(System(), 2))
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x01(K\x02K\x03t(K\x04K\x01t\x89}tR"
    untyped = tensor.replace(b"torch\nFloatStorage", b"torch.storage\nUntypedStorage").replace(b"K\x10", b"K\x40")
    v3 = untyped.replace(b"_v2", b"_v3")[:-2] + b"ctorch\nbfloat16\ntR"
    for name, made in {"tensor": tensor, "tensor_v3": v3}.items():
        write("torch_archive", name + ".pkl", b"\x80\x02}X\x01\0\0\0w" + made + b"s.")
    write("torch_archive", "cycle.pkl", b"\x80\x02]q\0h\0a.")
    write("torch_archive", "deep.pkl", b"\x80\x02)" + b"\x85" * 2000 + b".")
    laughs = b"".join(b"q\0" + b"h\0" * 9 + b"\x85\x86\x86\x86\x86\x86\x87" for _ in range(30))
    write("torch_archive", "laughs.pkl", b"\x80\x02)" + laughs + b".")
    import numpy
    for protocol in (2, 4):
        values = {"scalar": numpy.float64(0.5), "array": numpy.ones((2, 3), "f4"), "bytes": b"\xff", "set": {1},
                  "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float16, "big": 2**70}
        write("torch_archive", f"values{protocol}.pkl", pickle.dumps(values, protocol))


def configs():
    transformer = {"_class_name": "WanTransformer3DModel", "num_layers": 2, "patch_size": [1, 2, 2], "eps": 1e-6,
                   "attention": {"kind": "mhla", "block_layout": [3, 5, 10], "softmax_layers": [1], "gated": True}}
    write("json", "transformer.json", json.dumps(transformer, indent=2))
    write("json", "model_index.json", json.dumps({"_class_name": "WanPipeline", "boundary_ratio": None, "transformer":
                                                  ["diffusers", "WanTransformer3DModel"]}))
    write("json", "index.json", json.dumps({"_class_name": "A", "metadata": {}, "weight_map":
                                            {"w": "diffusion_pytorch_model-00001-of-00001.safetensors"}}))
    write("json", "infinity.json", '{"a": -Infinity, "b": [1.0, 2e308, 9e15, -0.5], "c": "\\u00e9\\ud83c\\udf0a"}')
    write("json", "prompts.json", '[{"prompt": "a cat", "seed": 18446744073709551615}, {"prompt": "b", "prompt": 1}]')
    write("json", "deep.json", '{"a": ' + "[" * 3000 + "]" * 3000 + "}")
    write("json", "cut.json", '{"a": "')


def tokenizer():
    texts = CORPUS.parent / "texts.txt"
    words = "a red green blue square circle star moves left right up down slowly on the background".split()
    texts.write_text("\n".join(" ".join(words[(i * k) % len(words)] for k in range(1, 9)) for i in range(1, 60)))
    rules = CORPUS.parent / "rules.tsv"
    rules.write_text("41\t61\nA0\t20\n2122\t54 4D\nFF21 FF22\t61\n")  # A, no-break space, trade mark, two wide letters
    for kind in ("unigram", "bpe", "char", "word"):
        for rule in ("identity", "custom") if kind in ("unigram", "bpe") else ("identity",):
            rule_options = {"normalization_rule_tsv": str(rules)} if rule == "custom" else {"normalization_rule_name": rule}
            sentencepiece.SentencePieceTrainer.train(
                input=str(texts), model_prefix=str(CORPUS.parent / "m"), vocab_size=320 if rule == "custom" else 60,
                hard_vocab_limit=False, model_type=kind, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
                byte_fallback=rule == "custom", input_format="text", num_threads=1, **rule_options)
            write("tokenizer", f"{kind}_{rule}.model", (CORPUS.parent / "m.model").read_bytes())
    for name in ("m.model", "m.vocab", "texts.txt", "rules.tsv"):
        (CORPUS.parent / name).unlink()
    write("tokenizer", "prompt", ">  a &amp;lt; b &#x1F30A; &notit; &#128; \xc2\xa0 \xe3\x80\x80 end  ".encode("latin1"))


if __name__ == "__main__":
    safetensors()
    scaled_weights()
    gguf()
    torch_archive()
    configs()
    tokenizer()
