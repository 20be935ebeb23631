"""What the parts of the benchmark compute: shapes, inputs and the peers' calls. Runs in the Python of bench/requirements.txt."""

import torch

BLOCK_LAYOUT = [5, 5, 3]  # 75 blocks on both grids
GRIDS = {1200: (5, 15, 16), 7800: (13, 20, 30)}  # tokens -> along time, height, width: 17 frames of 256x240, 49 of 480x320


def softmax_layers(kind, layers):
    """Those of a "hybrid": every third."""
    return list(range(0, layers, 3)) if kind == "hybrid" else []


def wan_transformer(model, inputs):
    return model(inputs["latents"], inputs["timesteps"], inputs["context"], return_dict=False)[0]


def dit(model, inputs):
    return model(inputs["latents"], inputs["timesteps"], inputs["classes"], return_dict=False)[0]


# Name of the inputs -> the network and how it is called.
CALLS = {
    "wan-1200": ("transformer", wan_transformer),
    "wan-7800": ("transformer", wan_transformer),
    "wan-decode": ("vae", lambda model, inputs: model.decode(inputs["latents"], return_dict=False)[0]),
    "wan-encode": ("vae", lambda model, inputs: model.encode(inputs["frames"], return_dict=False)[0].mean),
    "text-encoder": ("text_encoder", lambda model, inputs: model(inputs["ids"]).last_hidden_state),
    "dit": ("dit", dit),
    "kl-decode": ("kl", lambda model, inputs: model.decode(inputs["latents"], return_dict=False)[0]),
}


def inputs(name):
    """name -> tensor, on the CPU; networks get numbers as bfloat16, times as float32."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(torch.bfloat16)

    if name.startswith("wan-") and name[4:].isdigit():
        time, height, width = GRIDS[int(name[4:])]
        return {"latents": normal(1, 16, time, 2 * height, 2 * width), "timesteps": torch.tensor([500.0]),
                "context": normal(1, 512, 4096)}
    if name == "wan-decode":
        return {"latents": normal(1, 16, 5, 30, 32)}
    if name == "wan-encode":
        return {"frames": normal(1, 3, 17, 240, 256).clamp(-1, 1)}
    if name == "text-encoder":
        return {"ids": torch.randint(3, 500, (1, 512), generator=generator)}
    if name == "dit":
        return {"latents": normal(2, 4, 32, 32), "timesteps": torch.tensor([500.0, 500.0]), "classes": torch.tensor([207, 1000])}
    if name == "kl-decode":
        return {"latents": normal(1, 4, 32, 32)}
    raise ValueError(name)
