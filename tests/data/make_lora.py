"""Writes tests/data/fixtures/wan_lora and umt5_lora: tiny networks, LoRA files in every layout, and what the reference
computes with them: diffusers' own loader for the transformer, PEFT for the text encoder.
Needs torch, diffusers 0.42.1, peft, transformers and safetensors."""

import json
import pathlib

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

here = pathlib.Path(__file__).parent / "fixtures"
generator = torch.Generator().manual_seed(20)


def randn(*shape, scale=1.0):
    return torch.randn(shape, generator=generator) * scale


def randomize(model):
    """Every weight random: as they are initialized, norms are one and biases zero."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            weight.copy_(randn(*weight.shape, scale=0.2) + (1.0 if norm else 0.0))
    return model.eval()


# Names of diffusers -> those of Wan's own code.
ORIGINAL = {
    "attn1.to_q": "self_attn.q", "attn1.to_k": "self_attn.k", "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o", "attn2.to_q": "cross_attn.q", "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v", "attn2.to_out.0": "cross_attn.o", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
}
OUTSIDE = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
}
NORMS = {"attn1.norm_q": "self_attn.norm_q", "attn2.norm_k": "cross_attn.norm_k", "norm2": "norm3"}

MODEL = {
    "patch_size": [1, 2, 2], "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4,
    "text_dim": 16, "freq_dim": 16, "ffn_dim": 40, "num_layers": 2, "cross_attn_norm": True, "eps": 1e-06,
    "rope_max_seq_len": 64,
}


def pair(layer, rank):
    return randn(rank, layer.in_features, scale=0.3), randn(layer.out_features, rank, scale=0.3)


class Transformer:
    """The network, and the LoRA files that are made for it."""

    def __init__(self):
        self.model = randomize(WanTransformer3DModel(**MODEL))
        self.weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        self.in_blocks = {
            f"blocks.{block}.{ours}": f"blocks.{block}.{theirs}"
            for block in range(MODEL["num_layers"]) for ours, theirs in ORIGINAL.items()
        }
        self.everywhere = self.in_blocks | OUTSIDE

    def layer(self, name):
        return self.model.get_submodule(name)

    def diffusers(self):
        """No alpha: the scale is 1 at every rank."""
        tensors = {}
        for i, name in enumerate(self.everywhere):
            down, up = pair(self.layer(name), 2 + i % 3)
            tensors[f"transformer.{name}.lora_A.weight"], tensors[f"transformer.{name}.lora_B.weight"] = down, up
        return tensors, {}

    def diffusers_metadata(self):
        """Alphas in the header, as save_lora_weights writes them."""
        tensors = {}
        for block in range(MODEL["num_layers"]):
            for i, name in enumerate(["attn1.to_q", "attn1.to_v", "ffn.net.2"]):
                layer = f"blocks.{block}.{name}"
                down, up = pair(self.layer(layer), 4 if i == 1 else 2)
                tensors[f"transformer.{layer}.lora_A.weight"] = down
                tensors[f"transformer.{layer}.lora_B.weight"] = up
        settings = {
            "r": 2, "lora_alpha": 3, "rank_pattern": {"to_v": 4}, "alpha_pattern": {"blocks.1.attn1.to_v": 1},
            "target_modules": ["attn1.to_q", "attn1.to_v", "ffn.net.2"],
        }
        settings = {f"transformer.{key}": value for key, value in settings.items()}
        return tensors, {"format": "pt", "lora_adapter_metadata": json.dumps(settings)}

    def original(self):
        """Alphas and biases."""
        tensors = {}
        for i, (ours, theirs) in enumerate(self.everywhere.items()):
            rank = 1 + i % 4
            down, up = pair(self.layer(ours), rank)
            tensors[f"diffusion_model.{theirs}.lora_down.weight"] = down
            tensors[f"diffusion_model.{theirs}.lora_up.weight"] = up
            if theirs.startswith("blocks.") and i % 3:
                tensors[f"diffusion_model.{theirs}.alpha"] = torch.tensor(float(i % 5 + 1) / 2)
            tensors[f"diffusion_model.{theirs}.diff_b"] = randn(self.layer(ours).out_features, scale=0.1)
        return tensors, {}

    def original_ab(self):
        """ComfyUI's names with PEFT's halves, in bfloat16, attention only."""
        tensors = {}
        for ours, theirs in self.in_blocks.items():
            if "attn" not in theirs:
                continue
            down, up = pair(self.layer(ours), 3)
            tensors[f"diffusion_model.{theirs}.lora_A.weight"] = down.bfloat16()
            tensors[f"diffusion_model.{theirs}.lora_B.weight"] = up.bfloat16()
        return tensors, {}

    def norms(self):
        """`.diff` of norms beside a LoRA; diffusers drops them, so the reference adds them to its own weights."""
        tensors = {}
        for block in range(MODEL["num_layers"]):
            for ours, theirs in NORMS.items():
                width = self.layer(f"blocks.{block}.{ours}").weight.shape[0]
                tensors[f"diffusion_model.blocks.{block}.{theirs}.diff"] = randn(width, scale=0.2)
            down, up = pair(self.layer(f"blocks.{block}.attn1.to_k"), 2)
            tensors[f"diffusion_model.blocks.{block}.self_attn.k.lora_down.weight"] = down
            tensors[f"diffusion_model.blocks.{block}.self_attn.k.lora_up.weight"] = up
        return tensors, {}

    def musubi(self):
        """Alpha 1, which is musubi's default; ranks differ."""
        tensors = {}
        for i, (ours, theirs) in enumerate(self.in_blocks.items()):
            name = "lora_unet_" + theirs.replace(".", "_")
            down, up = pair(self.layer(ours), 2 + 2 * (i % 2))
            tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
            tensors[f"{name}.alpha"] = torch.tensor(1.0)
        return tensors, {"ss_network_module": "networks.lora_wan", "ss_network_dim": "2", "ss_network_alpha": "1.0"}

    def run(self, files, loras, inputs):
        """The output with diffusers' loader; norms' differences are added by hand."""
        self.model.load_state_dict(self.weights)
        pipe = WanPipeline(tokenizer=None, text_encoder=None, vae=None, transformer=self.model,
                           scheduler=FlowMatchEulerDiscreteScheduler())
        names, strengths = [], []
        for i, (name, strength) in enumerate(loras):
            tensors, metadata = files[name]
            for key, value in tensors.items():
                if key.endswith(".diff"):
                    block, layer = key.removeprefix("diffusion_model.blocks.").removesuffix(".diff").split(".", 1)
                    ours = next(ours for ours, theirs in NORMS.items() if theirs == layer)
                    with torch.no_grad():
                        self.layer(f"blocks.{block}.{ours}").weight.add_(strength * value)
            pipe.load_lora_weights(str(out_folder / f"{name}.safetensors"), adapter_name=f"a{i}")
            names.append(f"a{i}")
            strengths.append(strength)
        if names:
            pipe.set_adapters(names, strengths)
        with torch.no_grad():
            out = self.model(inputs["x"], inputs["t"], inputs["context"], return_dict=False)[0]
        if names:
            pipe.unload_lora_weights()
        return out


def listed(tensors):
    return {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in sorted(tensors.items())}


def write(folder, config, io, weights, files):
    for name, (tensors, metadata) in files.items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors", metadata)
    save_file(io, folder / "io.safetensors")
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "weights.safetensors")
    config["dtype"] = "float32"
    config["tensors"] = listed(io)
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def case_name(loras):
    return "+".join(f"{name}@{strength:g}" for name, strength in loras) or "none"


def case_config(loras):
    return {"name": case_name(loras),
            "loras": [{"file": f"{name}.safetensors", "strength": strength} for name, strength in loras]}


out_folder = here / "wan_lora"
out_folder.mkdir(exist_ok=True)
wan = Transformer()
layouts = ["diffusers", "diffusers_metadata", "original", "original_ab", "norms", "musubi"]
files = {name: getattr(wan, name)() for name in layouts}
write(out_folder, {}, {}, {}, files)
inputs = {"x": randn(2, 4, 2, 4, 6), "t": torch.tensor([875, 40]), "context": randn(2, 5, 16)}
cases = [[]] + [[(name, strength)] for name in layouts for strength in (1.0, 0.5, 0.0, -1.0)]
cases += [[("diffusers", 0.5), ("musubi", -1.0)], [("original", 1.0), ("original", 0.5)],
          [("musubi", 0.5), ("norms", 1.0)]]
io = dict(inputs)
for loras in cases:
    io[f"{case_name(loras)}.out"] = wan.run(files, loras, inputs)
for name in layouts:
    changed = (io[f"{name}@1.out"] - io["none.out"]).abs().max() / io["none.out"].abs().max()
    print(name, "changes the output by", float(changed))
write(out_folder, {
    "about": "diffusers 0.42.1 WanTransformer3DModel with WanPipeline.load_lora_weights and set_adapters",
    "model": MODEL,
    "cases": [case_config(loras) for loras in cases],
    "notes": "FILE.safetensors are the LoRAs. Each case loads its list in order; `<case>.out` is the output for x, t, "
             "context. Cases with norms: diffusers drops `.diff` of norms, so strength * diff was added to the norms' "
             "weights before.",
}, io, wan.weights, files)

# The text encoder: PEFT's own files, and the names that diffusers' and kohya's programs give the same tensors.
out_folder = here / "umt5_lora"
out_folder.mkdir(exist_ok=True)
TEXT = {"vocab_size": 64, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "layer_norm_epsilon": 1e-06,
        "feed_forward_proj": "gated-gelu"}
encoder = randomize(UMT5EncoderModel(UMT5Config(**TEXT, tie_word_embeddings=False, dropout_rate=0.0)))
weights = {name: weight.clone() for name, weight in encoder.state_dict().items() if name != "encoder.embed_tokens.weight"}
ids = torch.randint(1, 64, (1, 9), generator=generator)
with torch.no_grad():
    io = {"ids": ids, "none.out": encoder(ids).last_hidden_state}
adapted = get_peft_model(encoder, LoraConfig(r=3, lora_alpha=6, target_modules=["q", "v", "wi_1", "wo"],
                                             rank_pattern={"v": 2}, alpha_pattern={"wo": 1}))
with torch.no_grad():
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.copy_(randn(*weight.shape, scale=0.3))
adapted.eval()
adapted.save_pretrained(out_folder / "peft")
(out_folder / "peft" / "README.md").unlink(missing_ok=True)
tensors, kohya, theirs = {}, {}, {}
for name, module in adapted.base_model.model.named_modules():
    if not hasattr(module, "lora_A"):
        continue
    down, up = module.lora_A["default"].weight.data, module.lora_B["default"].weight.data
    tensors[f"text_encoder.{name}.lora_A.weight"] = down
    # No alpha: the scale is in the second half.
    tensors[f"text_encoder.{name}.lora_B.weight"] = up * module.scaling["default"]
    key = "lora_te_" + name.replace(".", "_")
    kohya[f"{key}.lora_down.weight"], kohya[f"{key}.lora_up.weight"] = down, up
    kohya[f"{key}.alpha"] = torch.tensor(float(module.scaling["default"] * down.shape[0]))
for strength in (1.0, 0.5, -1.0):
    for module in adapted.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", strength)
    with torch.no_grad():
        io[f"@{strength:g}.out"] = adapted(ids).last_hidden_state
files = {"text_encoder": (tensors, {}), "kohya": (kohya, {})}
print("umt5 changes by", float((io["@1.out"] - io["none.out"]).abs().max() / io["none.out"].abs().max()))
write(out_folder, {
    "about": "transformers UMT5EncoderModel with a LoRA of PEFT",
    "model": TEXT,
    "files": ["peft/adapter_model.safetensors", "text_encoder.safetensors", "kohya.safetensors"],
    "strengths": [1.0, 0.5, -1.0],
    "notes": "the files hold the same LoRA; `@<strength>.out` is last_hidden_state for ids without a mask",
}, io, weights, files)
