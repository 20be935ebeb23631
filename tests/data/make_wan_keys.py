"""Makes the lists of keys of Wan's own image-to-video releases and of Wan 2.2: those of Wan 2.1 T2V 14B with what the
code of the others adds and the sizes of their configs. The code is wan/modules/model.py of Wan-Video/Wan2.1 (I2V, FLF2V)
and Wan2.2 (A14B, TI2V), wan/modules/clip.py and wan/modules/vae2_2.py. Run: python make_wan_keys.py"""

import math
import pathlib

HERE = pathlib.Path(__file__).parent / "keys"


def read(name):
    """Lines of a list without its head."""
    lines = (HERE / f"{name}.txt").read_text().splitlines()
    return [tuple(line.split()) for line in lines if line and not line.startswith("#")]


def blocks_of(name):
    """How many tensors a line stands for."""
    if "{" not in name:
        return 1
    count = 0
    for part in name[name.index("{") + 1:name.index("}")].split(","):
        ends = [int(end) for end in part.split("-")]
        count += ends[-1] - ends[0] + 1
    return count


def write(name, about, lines):
    numbers = sum(blocks_of(key) * math.prod(int(n) for n in shape.split("x")) for key, shape in lines)
    tensors = sum(blocks_of(key) for key, _ in lines)
    about = about + ["Written after the code of the reference's modules, by tests/data/make_wan_keys.py."]
    head = [f"# {line}" for line in about] + ["# dtype F32", f"# tensors {tensors}", f"# numbers {numbers}"]
    (HERE / f"{name}.txt").write_text("\n".join(head + [" ".join(line) for line in lines]) + "\n")


def linear(name, out, inside):
    return [(name + ".weight", f"{out}x{inside}"), (name + ".bias", f"{out}")]


def norm(name, width):
    return [(name + ".weight", f"{width}"), (name + ".bias", f"{width}")]


def image_lines(width, positions):
    """WanI2VCrossAttention and MLPProj."""
    cross = "blocks.{0-39}.cross_attn."
    lines = linear(cross + "k_img", width, width) + linear(cross + "v_img", width, width)
    lines += [(cross + "norm_k_img.weight", f"{width}")]
    lines += norm("img_emb.proj.0", 1280) + linear("img_emb.proj.1", 1280, 1280)
    lines += linear("img_emb.proj.3", width, 1280) + norm("img_emb.proj.4", width)
    return lines + ([("img_emb.emb_pos", f"1x{positions}x1280")] if positions else [])


def with_channels(lines, channels):
    return [(key, shape.replace("x16x", f"x{channels}x", 1) if key == "patch_embedding.weight" else shape)
            for key, shape in lines]


def resized(lines, widths, blocks):
    """Lines of a transformer of other widths and another number of blocks."""
    out = []
    for key, shape in lines:
        sizes = [str(widths.get(int(n), int(n))) for n in shape.split("x")]
        out.append((key.replace("{0-39}", "{0-%d}" % (blocks - 1)), "x".join(sizes)))
    return out


def clip_lines():
    """XLMRobertaCLIP's visual tower with its head; its text tower is left out of the list."""
    layer = "visual.transformer.{0-31}."
    lines = [("visual.cls_embedding", "1x1x1280"), ("visual.pos_embedding", "1x257x1280"),
             ("visual.head", "1280x1024"), ("visual.patch_embedding.weight", "1280x3x14x14")]
    lines += norm("visual.pre_norm", 1280) + norm("visual.post_norm", 1280)
    lines += norm(layer + "norm1", 1280) + norm(layer + "norm2", 1280)
    lines += linear(layer + "attn.to_qkv", 3840, 1280) + linear(layer + "attn.proj", 1280, 1280)
    return lines + linear(layer + "mlp.0", 5120, 1280) + linear(layer + "mlp.2", 1280, 5120)


def convolution(name, out, inside, *kernel):
    return [(name + ".weight", "x".join(map(str, (out, inside, *kernel)))), (name + ".bias", f"{out}")]


def residual(name, inside, out):
    lines = [(name + ".residual.0.gamma", f"{inside}x1x1x1"), (name + ".residual.3.gamma", f"{out}x1x1x1")]
    lines += convolution(name + ".residual.2", out, inside, 3, 3, 3)
    lines += convolution(name + ".residual.6", out, out, 3, 3, 3)
    return lines + (convolution(name + ".shortcut", out, inside, 1, 1, 1) if inside != out else [])


def middle(half, width):
    lines = residual(half + ".middle.0", width, width) + residual(half + ".middle.2", width, width)
    lines += [(half + ".middle.1.norm.gamma", f"{width}x1x1")]
    return lines + convolution(half + ".middle.1.to_qkv", 3 * width, width, 1, 1) + \
        convolution(half + ".middle.1.proj", width, width, 1, 1)


def vae22_lines():
    z, temporal = 48, [False, True, True]
    lines = convolution("conv1", 2 * z, 2 * z, 1, 1, 1) + convolution("conv2", z, z, 1, 1, 1)
    widths = [160 * n for n in (1, 1, 2, 4, 4)]
    lines += convolution("encoder.conv1", widths[0], 12, 3, 3, 3) + middle("encoder", widths[-1])
    for level in range(4):
        at = f"encoder.downsamples.{level}.downsamples."
        for block in range(2):
            lines += residual(f"{at}{block}", widths[level] if block == 0 else widths[level + 1], widths[level + 1])
        if level < 3:
            lines += convolution(f"{at}2.resample.1", widths[level + 1], widths[level + 1], 3, 3)
            if temporal[level]:
                lines += convolution(f"{at}2.time_conv", widths[level + 1], widths[level + 1], 3, 1, 1)
    lines += [("encoder.head.0.gamma", f"{widths[-1]}x1x1x1")]
    lines += convolution("encoder.head.2", 2 * z, widths[-1], 3, 3, 3)
    widths = [256 * n for n in (4, 4, 4, 2, 1)]
    lines += convolution("decoder.conv1", widths[0], z, 3, 3, 3) + middle("decoder", widths[0])
    for level in range(4):
        at = f"decoder.upsamples.{level}.upsamples."
        for block in range(3):
            lines += residual(f"{at}{block}", widths[level] if block == 0 else widths[level + 1], widths[level + 1])
        if level < 3:
            lines += convolution(f"{at}3.resample.1", widths[level + 1], widths[level + 1], 3, 3)
            if temporal[2 - level]:
                lines += convolution(f"{at}3.time_conv", 2 * widths[level + 1], widths[level + 1], 3, 1, 1)
    lines += [("decoder.head.0.gamma", f"{widths[-1]}x1x1x1")]
    return lines + convolution("decoder.head.2", 12, widths[-1], 3, 3, 3)


def main():
    text = read("wan2.1_t2v_14b")
    image = with_channels(text, 36)
    write("wan2.1_i2v_14b", ["diffusion_pytorch_model*.safetensors of Wan2.1-I2V-14B-480P and 720P."],
          image + image_lines(5120, 0))
    write("wan2.1_flf2v_14b", ["diffusion_pytorch_model*.safetensors of Wan2.1-FLF2V-14B-720P."],
          image + image_lines(5120, 514))
    write("wan2.2_i2v_a14b", ["high_noise_model/ and low_noise_model/ of Wan2.2-I2V-A14B."], image)
    small = resized(with_channels(text, 48), {5120: 3072, 6 * 5120: 6 * 3072, 13824: 14336, 64: 192}, 30)
    write("wan2.2_ti2v_5b", ["diffusion_pytorch_model*.safetensors of Wan2.2-TI2V-5B."], small)
    write("wan2.2_vae", ["Wan2.2_VAE.pth."], vae22_lines())
    write("wan2.1_clip_visual", ["The visual tower in models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth."],
          clip_lines())


main()
