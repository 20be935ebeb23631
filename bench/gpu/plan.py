"""What bench/gpu measures: networks of Wan 1.3B's widths on grids of tokens, and how many operations they take."""

import parts

MHLA = {"kind": "mhla", "block_layout": [3, 5, 10], "gated": True, "normalizer": "none"}  # as published
TEXT = 512
CHANNELS, PATCH = 16, 4  # of latents; values of a token in each
GRIDS = [[13, 20, 30], [21, 30, 50]]  # 7,800 tokens: 49 frames of 480x320; 31,500: 81 frames of 800x480, the trained size


def grid_of(text):
    """"13x20x30" -> [13, 20, 30]: tokens along time, height, width."""
    grid = [int(size) for size in text.split("x")]
    if len(grid) != 3 or min(grid) < 1:
        raise ValueError(f"{text}: want tokens along time, height and width, such as 13x20x30")
    return grid


def tokens_of(grid):
    return grid[0] * grid[1] * grid[2]


def make(grids, layers, product):
    """The plan that bench_gpu and peer.py read (bench/gpu/networks.h): a softmax and an MHLA part for every grid."""
    found = {}
    for grid in grids:
        for attention in ({"kind": "softmax"}, MHLA):
            found[f"{attention['kind']}-{tokens_of(grid)}"] = {"attention": attention, "grid": grid}
    return {"transformer": {"num_layers": layers, "in_channels": CHANNELS, "out_channels": CHANNELS} | parts.WAN, "text": TEXT,
            "product": product, "parts": found}


def operations(plan, name):
    """Operations of the products of one forward pass, a multiplication and an addition counted as two. The text's own products are
    left out: its keys are kept from step to step."""
    if name == "product":
        return 2 * plan["product"] ** 3
    config, part = plan["transformer"], plan["parts"][name]
    head, tokens = config["attention_head_dim"], tokens_of(part["grid"])
    width = config["num_attention_heads"] * head
    linear = 2 * tokens * (6 * width**2 + 2 * width * config["ffn_dim"])  # q, k, v, o; q and o of the text's attention
    layer = linear + parts.softmax_operations(tokens, plan["text"], width)
    attention = part["attention"]
    if attention["kind"] == "softmax":
        layer += parts.softmax_operations(tokens, tokens, width)
    else:
        layer += 2 * tokens * width**2 if attention.get("gated") else 0
        layer += parts.mhla_operations(tokens, width, head, tokens_of(attention["block_layout"]))
    patches = 2 * tokens * width * PATCH * (config["in_channels"] + config["out_channels"])
    return config["num_layers"] * layer + patches
