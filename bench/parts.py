"""The parts of the benchmark: who computes what, and what is wanted of it (targets are ratios to the first contender, the peer)."""

import dataclasses

WAN = dict(num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, text_dim=4096, freq_dim=256)  # Wan 1.3B's widths
BLOCKS, WIDTH, HEAD = 75, 1536, 128  # of MHLA in the models of make_models.py
PRODUCTS = 16  # of 2048x2048x2048 in a turn
TOKENS = {"wan-1200": 1200, "wan-7800": 7800}


@dataclasses.dataclass
class Contender:
    label: str
    program: str  # "peer" or "tessera"
    model: str = ""  # folder of make_models.py, for the peer its network
    dtype: str = "bf16"
    attention: str = "softmax"
    target: float | None = None


@dataclasses.dataclass
class Part:
    name: str  # of the inputs and for --only
    title: str
    network: str  # as bench_part has it
    contenders: list
    warm: bool = True  # one more run before the rounds; parts that take long go without


def transformer(name, title, bf16, mhla_bf16, int8, mhla_int8, warm):
    return Part(name, title, "wan-transformer", [
        Contender("diffusers, softmax", "peer", "wan-softmax/transformer"),
        Contender("tessera, softmax", "tessera", "wan-softmax", target=bf16),
        Contender("tessera, MHLA", "tessera", "wan-mhla", attention="mhla", target=mhla_bf16),
        Contender("tessera, hybrid", "tessera", "wan-hybrid", attention="hybrid"),
        Contender("tessera, softmax", "tessera", "wan-softmax", "int8", target=int8),
        Contender("tessera, MHLA", "tessera", "wan-mhla", "int8", attention="mhla", target=mhla_int8)], warm)


def pair(name, title, peer, peer_folder, model, target, int8=None, warm=True):
    contenders = [Contender(peer, "peer", peer_folder), Contender("tessera", "tessera", model, target=target)]
    if int8:
        contenders.append(Contender("tessera", "tessera", model, "int8", target=int8))
    return Part(name, title, name, contenders, warm)


NETWORKS = [
    pair("wan-decode", "Wan VAE decode, 17 frames of 256x240", "diffusers", "wan-softmax/vae", "wan-softmax", 3.0, warm=False),
    pair("wan-encode", "Wan VAE encode, 17 frames of 256x240", "diffusers", "wan-softmax/vae", "wan-softmax", None, warm=False),
    transformer("wan-1200", "Wan 1.3B forward, 1,200 tokens", 1.3, 1.3, 2.0, 2.0, warm=True),
    transformer("wan-7800", "Wan 1.3B forward, 7,800 tokens", 1.4, 2.5, None, 4.0, warm=False),
    pair("text-encoder", "UMT5-XXL, 2 layers, 512 tokens", "transformers", "wan-softmax/text_encoder", "wan-softmax", 1.3, 2.0),
    pair("dit", "DiT-XL/2 forward, batch 2, 256x256", "diffusers", "dit/transformer", "dit", 1.3, 2.0),
    pair("kl-decode", "SD VAE decode, 256x256", "diffusers", "dit/vae", "dit", 2.0),
]


def operations(part, contender, counted, layers, hybrid_softmax):
    """Operations of one run: the peer's count; with MHLA its own operator instead of softmax's. `hybrid_softmax`: how many layers
    of a hybrid keep softmax."""
    if contender.attention == "softmax":
        return counted
    tokens, changed = TOKENS[part.name], layers - (hybrid_softmax if contender.attention == "hybrid" else 0)
    gate = 2 * tokens * WIDTH**2
    return counted + changed * (gate + mhla_operations(tokens, WIDTH, HEAD, BLOCKS) - softmax_operations(tokens, tokens, WIDTH))


def softmax_operations(queries, keys, width):
    return 4 * queries * keys * width


def mhla_operations(tokens, width, head, blocks):
    """Summaries and read-out take a token's head through a [head, head] matrix each; the mixing is a [blocks, blocks] matrix."""
    return 4 * tokens * width * head + 2 * blocks**2 * width * head
