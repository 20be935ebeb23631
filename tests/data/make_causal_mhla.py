"""Makes tests/data/causal_mhla: layers of causal MHLA with the published options that the mhla_causal fixture lacks.
Usage: python3 make_causal_mhla.py (needs numpy).

Every output is computed token by token in float64 from the definition, without chunks or summaries:
    out_t = sum over s <= t of mixing[chunk of t, chunk of s] * (q_t . k_s) / sqrt(features) * v_s
"""
import json
import pathlib
import struct

import numpy as np

CHUNK, CHUNKS, TOKENS = 8, 4, 27
CASES = {
    "identity": {"feature_map": "identity"},
    "shared_by_two": {"feature_map": "relu", "num_kv_heads": 2},
    "shared_by_all": {"feature_map": "elu", "num_kv_heads": 1},
    "no_gate": {"feature_map": "relu", "use_output_gate": False},
    "no_gate_no_weight": {"feature_map": "elu", "use_output_gate": False, "elementwise_affine": False},
    "no_norm_weight": {"feature_map": "identity", "elementwise_affine": False, "norm_eps": 1e-3},
    "conv": {"feature_map": "relu", "use_short_conv": True, "conv_size": 4, "conv_bias": True},
    "conv_shared": {"feature_map": "identity", "use_short_conv": True, "conv_size": 2, "num_kv_heads": 2},
    "t2r": {"feature_map": "t2r"},
    "elementwise_product": {"feature_map": "elementwise_product", "num_kv_heads": 2},
    "hedgehog": {"feature_map": "hedgehog"},
    "dpfp": {"feature_map": "dpfp"},
    "truncated_width": {"feature_map": "elu", "hidden_size": 24, "expand_k": 0.7, "expand_v": 0.75, "num_heads": 2},
}
DEFAULTS = {"hidden_size": 16, "expand_k": 1.0, "expand_v": 1.5, "num_heads": 4, "num_kv_heads": None,
            "use_short_conv": False, "conv_size": 4, "conv_bias": False, "use_output_gate": True,
            "elementwise_affine": True, "norm_eps": 1e-5}


def silu(x):
    return x / (1 + np.exp(-x))


def make_weights(random, s):
    C, H = s["hidden_size"], s["num_heads"]
    keys, values = int(C * s["expand_k"]), int(C * s["expand_v"])
    groups = H // (s["num_kv_heads"] or H)
    normal = lambda *shape: random.normal(size=shape) / np.sqrt(shape[-1])
    w = {"q_proj.weight": 2 * normal(keys, C), "k_proj.weight": 2 * normal(keys // groups, C),
         "v_proj.weight": normal(values // groups, C), "o_proj.weight": normal(C, values)}
    if s["use_output_gate"]:
        w["g_proj.weight"] = 2 * normal(values, C)
    if s["elementwise_affine"]:
        name = "g_norm_swish_gate.weight" if s["use_output_gate"] else "g_norm.weight"
        w[name] = random.uniform(0.5, 1.5, values // H)
    if s["use_short_conv"]:
        for part, width in (("q", keys), ("k", keys // groups), ("v", values // groups)):
            w[part + "_conv1d.weight"] = random.normal(size=(width, 1, s["conv_size"]))
            if s["conv_bias"]:
                w[part + "_conv1d.bias"] = random.normal(size=width) / 2
    D = keys // H
    for part in ("feature_map_q.", "feature_map_k."):
        if s["feature_map"] in ("t2r", "hedgehog"):
            w[part + "layer.weight"] = 2 * normal(D, D)
        if s["feature_map"] == "hedgehog":
            w[part + "layer.bias"] = random.normal(size=D) / 2
        if s["feature_map"] == "elementwise_product":
            for layer in ("layer1.", "layer2."):
                w[part + layer + "weight"] = 2 * normal(D, D)
                w[part + layer + "bias"] = random.normal(size=D) / 2
    # Beyond the range to which the layer clamps, and values above the diagonal, which it ignores.
    w["mixing_matrix"] = random.uniform(-0.2, 1.2, (CHUNKS, CHUNKS, 1, 1, 1, 1))
    return {name: value.astype(np.float32) for name, value in w.items()}


def features(kind, w, part, x):
    if kind == "elu":
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0))) + 1
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "identity":
        return x
    if kind == "t2r":
        return np.maximum(x @ w[part + "layer.weight"].T, 0)
    if kind == "elementwise_product":
        first, second = (x @ w[part + n + "weight"].T + w[part + n + "bias"] for n in ("layer1.", "layer2."))
        return first * second
    if kind == "hedgehog":
        y = x @ w[part + "layer.weight"].T + w[part + "layer.bias"]
        e = np.exp(np.concatenate([2 * y, -2 * y], -1))
        return e / e.sum(-1, keepdims=True)
    both = np.concatenate([np.maximum(x, 0), -np.maximum(x, 0)], -1)
    return np.concatenate([both * np.roll(both, shift, -1) for shift in (1, 2, 3, 4)], -1)


def rotate(x, dim):
    """x [F] at every token of [T, F]: channel i of the first `dim` is paired with i + dim / 2."""
    out, half = x.copy(), dim // 2
    for t in range(x.shape[0]):
        for i in range(half):
            angle = t * 10000.0 ** (-2.0 * i / dim)
            a, b = x[t, i], x[t, i + half]
            out[t, i] = a * np.cos(angle) - b * np.sin(angle)
            out[t, i + half] = b * np.cos(angle) + a * np.sin(angle)
    return out


def convolve(w, part, x):
    if part + "_conv1d.weight" not in w:
        return x
    kernel, out = w[part + "_conv1d.weight"][:, 0], np.zeros_like(x)
    size = kernel.shape[1]
    for t in range(x.shape[0]):
        for back in range(min(size, t + 1)):
            out[t] += kernel[:, size - 1 - back] * x[t - back]
    return silu(out + w.get(part + "_conv1d.bias", 0))


def layer(s, w, x):
    """x [T, C] -> [T, C]."""
    H = s["num_heads"]
    groups = H // (s["num_kv_heads"] or H)
    q, k, v = (convolve(w, part, x @ w[part + "_proj.weight"].T) for part in "qkv")
    D, V = q.shape[1] // H, v.shape[1] * groups // H
    mixing = np.clip(w["mixing_matrix"].reshape(CHUNKS, CHUNKS), 1e-5, 1)
    heads = []
    for h in range(H):
        g = h // groups
        qh = rotate(features(s["feature_map"], w, "feature_map_q.", q[:, h * D:(h + 1) * D]), D)
        kh = rotate(features(s["feature_map"], w, "feature_map_k.", k[:, g * D:(g + 1) * D]), D)
        vh = v[:, g * V:(g + 1) * V]
        out = np.zeros((x.shape[0], V))
        for t in range(x.shape[0]):
            for before in range(t + 1):
                out[t] += mixing[t // CHUNK, before // CHUNK] * (qh[t] @ kh[before]) / np.sqrt(qh.shape[1]) * vh[before]
        out /= np.sqrt((out ** 2).mean(-1, keepdims=True) + s["norm_eps"])
        heads.append(out * w.get("g_norm_swish_gate.weight", w.get("g_norm.weight", 1)))
    out = np.concatenate(heads, -1)
    if s["use_output_gate"]:
        out = out * silu(x @ w["g_proj.weight"].T)
    return out @ w["o_proj.weight"].T


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        raw = np.ascontiguousarray(tensor, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    random = np.random.default_rng(20260107)
    folder = pathlib.Path(__file__).parent / "causal_mhla"
    folder.mkdir(exist_ok=True)
    weights, io, layers = {}, {}, []
    for name, changes in CASES.items():
        s = {**DEFAULTS, **changes}
        w = make_weights(random, s)
        x = random.normal(size=(2, TOKENS, s["hidden_size"])).astype(np.float32)
        wide = {key: value.astype(np.float64) for key, value in w.items()}
        io[name + ".x"] = x
        io[name + ".out"] = np.stack([layer(s, wide, row) for row in x.astype(np.float64)])
        weights.update({name + "." + key: value for key, value in w.items()})
        layers.append({"name": name, "chunk": CHUNK, "chunks": CHUNKS, "kw": s})
    write_safetensors(folder / "weights.safetensors", weights)
    write_safetensors(folder / "io.safetensors", io)
    (folder / "config.json").write_text(json.dumps({"layers": layers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
