"""PyTorch's networks of a plan with random weights on request, beside which bench/gpu/run measures tessera.

Usage: peer.py diffusers|floor DEVICE PLAN.json THREADS SECONDS
diffusers: WanTransformer3DModel. floor: the products of its blocks and scaled_dot_product_attention, without norms, modulation
and rotation: what softmax attention cannot go below here. Serves "run PART" for parts with softmax (bench/serve.h).
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import peer_part
import torch
from torch.nn import functional


def diffusers_model(config, device):
    """As from_pretrained would load it: what diffusers keeps in float32 stays so."""
    import diffusers
    with torch.device(device):
        model = diffusers.WanTransformer3DModel(**config).eval()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        kept = any(part in name.split(".") for part in model._keep_in_fp32_modules or ())
        if tensor.is_floating_point() and not kept:
            tensor.data = tensor.data.to(torch.bfloat16)
    return lambda latents, times, context: model(latents, times, context, return_dict=False)[0]


def floor_model(config, device):
    heads, head, ffn = (config[name] for name in ("num_attention_heads", "attention_head_dim", "ffn_dim"))
    width = heads * head

    def weight(rows, columns):
        return (0.02 * torch.randn(rows, columns, device=device)).to(torch.bfloat16)

    layers = [{"square": [weight(width, width) for _ in range(6)], "up": weight(ffn, width), "down": weight(width, ffn)}
              for _ in range(config["num_layers"])]
    ends = weight(width, 4 * config["in_channels"]), weight(4 * config["out_channels"], width), weight(width, config["text_dim"])

    def split(x):
        return x.unflatten(-1, (heads, head)).transpose(1, 2)

    def attend(q, k, v):
        return functional.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2)

    def forward(latents, times, context):
        patches = latents.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)
        x = functional.linear(patches, ends[0])
        for layer in layers:
            q, k, v, out, text_q, text_out = layer["square"]
            x = x + functional.linear(attend(*(functional.linear(x, w) for w in (q, k, v))), out)
            x = x + functional.linear(attend(functional.linear(x, text_q), context, context), text_out)
            hidden = functional.gelu(functional.linear(x, layer["up"]), approximate="tanh")
            x = x + functional.linear(hidden, layer["down"])
        return functional.linear(x, ends[1])

    kept = {}
    return lambda latents, times, context: forward(latents, times, kept.setdefault("text", functional.linear(context, ends[2])))


def main():
    kind, device, plan_file, threads, seconds = sys.argv[1:]
    torch.set_num_threads(int(threads))
    plan = json.loads(pathlib.Path(plan_file).read_text())
    config, on_gpu = plan["transformer"], device != "cpu"
    patch, used = (1, 2, 2), {"before": 0}

    def numbers(*shape):
        return torch.randn(*shape, device=device).to(torch.bfloat16)

    def wait():
        if on_gpu:
            torch.cuda.synchronize(device)

    def activations():
        return {"activation_bytes": torch.cuda.max_memory_allocated(device) - used["before"]} if on_gpu else {}

    with torch.inference_mode():
        model = {"diffusers": diffusers_model, "floor": floor_model}[kind](config, device)
        context, times = numbers(1, plan["text"], config["text_dim"]), torch.full((1,), 500.0, device=device)
        latents = {name: numbers(1, config["in_channels"], *(size * step for size, step in zip(part["grid"], patch)))
                   for name, part in plan["parts"].items() if part["attention"]["kind"] == "softmax"}

        def run(name):
            return model(latents[name], times, context)

        def begin():
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(device)
                used["before"] = torch.cuda.memory_allocated(device)

        peer_part.serve(run, wait, float(seconds), begin, activations)


if __name__ == "__main__":
    main()
