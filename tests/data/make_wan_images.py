"""Makes tests/data/fixtures/wan_images and the lists of keys of image-to-video models and of Wan 2.2: tiny models with
random weights, and what diffusers 0.42.1 (torch 2.11) and transformers make of two pictures with them, step by step.
Run: python make_wan_images.py"""

import json
import pathlib

import diffusers
import numpy
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline
from diffusers import WanTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

HERE = pathlib.Path(__file__).parent
OUT = HERE / "fixtures" / "wan_images"
PARTS = HERE / "fixtures" / "wan_pipeline" / "pipeline"
TEXT, TOKENS = 32, 512
TINY = {"num_attention_heads": 1, "attention_head_dim": 24, "text_dim": TEXT, "freq_dim": 16, "ffn_dim": 40,
        "num_layers": 2, "out_channels": 16}
CLIP = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14, "hidden_act": "gelu", "projection_dim": 8}
STATES = 5  # of a picture
RESIDUAL = {"base_dim": 4, "decoder_base_dim": 6, "z_dim": 8, "dim_mult": [1, 2, 2], "num_res_blocks": 1,
            "temperal_downsample": [True, True], "is_residual": True, "in_channels": 12, "out_channels": 12,
            "patch_size": 2, "scale_factor_spatial": 8, "latents_mean": [0.1 * i for i in range(8)],
            "latents_std": [1.0 + 0.1 * i for i in range(8)]}
MODELS = {
    "i2v": {"in_channels": 36, "image_dim": 24, "added_kv_proj_dim": 24},
    "flf2v": {"in_channels": 36, "image_dim": 24, "added_kv_proj_dim": 24, "pos_embed_seq_len": 2 * STATES},
    "a14b_i2v": {"in_channels": 36},
    "a14b_t2v": {"in_channels": 16},
    "ti2v": {"in_channels": 8, "out_channels": 8},
}
RUNS = [
    {"name": "i2v", "model": "i2v", "image": True, "last": False, "g": 4.0},
    {"name": "flf2v", "model": "flf2v", "image": True, "last": True, "g": 1.0},
    {"name": "a14b_i2v", "model": "a14b_i2v", "image": True, "last": True, "g": 3.5, "g2": 2.0, "boundary": 0.9},
    {"name": "a14b_t2v", "model": "a14b_t2v", "image": False, "last": False, "g": 4.0, "g2": 3.0, "boundary": 0.875},
    {"name": "ti2v", "model": "ti2v", "image": True, "last": False, "g": 5.0, "expand": True},
]
WIDTH, HEIGHT, FRAMES, STEPS, SHIFT = 48, 32, 5, 5, 5.0
TRUE = {"attention_head_dim": 128, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40, "out_channels": 16}
IMAGE = {"image_dim": 1280, "added_kv_proj_dim": 5120}
KEYS = {
    "diffusers_wan_i2v_14b": (WanTransformer3DModel, {**TRUE, **IMAGE, "in_channels": 36}),
    "diffusers_wan_flf2v_14b": (WanTransformer3DModel, {**TRUE, **IMAGE, "in_channels": 36, "pos_embed_seq_len": 514}),
    "diffusers_wan2.2_i2v_a14b": (WanTransformer3DModel, {**TRUE, "in_channels": 36}),
    "diffusers_wan2.2_ti2v_5b": (WanTransformer3DModel, {**TRUE, "num_attention_heads": 24, "ffn_dim": 14336,
                                                         "num_layers": 30, "in_channels": 48, "out_channels": 48}),
    "diffusers_wan2.2_vae": (AutoencoderKLWan, {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48,
                                                "is_residual": True, "in_channels": 12, "out_channels": 12,
                                                "patch_size": 2, "scale_factor_spatial": 16,
                                                "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}),
}


def randomized(model, seed):
    """Every weight random, norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        near_one = "norm" in name and (name.endswith("weight") or name.endswith("gamma"))
        fan = max(1, weight[0].numel()) if weight.dim() > 1 else 1
        weight.data = 1 + 0.1 * noise if near_one else noise * (0.1 if weight.dim() == 1 else 0.7 / fan**0.5)
    return model.float().eval()


def picture(width, height, phase):
    x, y = numpy.meshgrid(numpy.linspace(0, 6, width), numpy.linspace(0, 5, height))
    colors = [numpy.sin(x + phase) + numpy.cos(y), numpy.sin(2 * x - y + phase), numpy.cos(x * y / 4 + phase)]
    noise = numpy.random.default_rng(int(phase * 10)).normal(0, 12, (height, width, 3))
    return Image.fromarray(numpy.clip(127 + 60 * numpy.stack(colors, -1) + noise, 0, 255).astype(numpy.uint8))


def save_transformer(name, part, settings, seed):
    model = randomized(WanTransformer3DModel(**{**TINY, **settings}), seed)
    model.save_pretrained(OUT / name / part)
    return model


def run(case, models, vaes, encoder, processor, pictures, prompts, io):
    """A whole run; what it shows the transformer comes from the pipeline itself."""
    name = case["name"]
    high, low = models[case["model"]]
    vae = vaes["ti2v" if case.get("expand") else "wan"]
    parts = {"tokenizer": None, "text_encoder": None, "vae": vae, "transformer": high, "transformer_2": low,
             "scheduler": UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction",
                                                  flow_shift=SHIFT),
             "boundary_ratio": case.get("boundary"), "expand_timesteps": case.get("expand", False)}
    call = {"height": HEIGHT, "width": WIDTH, "num_frames": FRAMES, "num_inference_steps": STEPS,
            "guidance_scale": case["g"], "prompt_embeds": prompts[0], "output_type": "np"}
    if case["g"] > 1:
        call["negative_prompt_embeds"] = prompts[1]
    if "g2" in case:
        call["guidance_scale_2"] = case["g2"]
    if case["image"]:
        pipe = WanImageToVideoPipeline(image_encoder=encoder, image_processor=processor, **parts)
        call["image"] = pictures[0]
        if case["last"]:
            call["last_image"] = pictures[1]
    else:
        pipe = WanPipeline(**parts)
    shape = (1, vae.config.z_dim, 1 + (FRAMES - 1) // 4, HEIGHT // 8, WIDTH // 8)
    io[name + ".noise"] = call["latents"] = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    experts = []

    def step(pipeline, i, t, tensors):
        io[f"{name}.latents_after_step{i}"] = tensors["latents"].clone()
        experts.append(int(case.get("boundary") is not None and float(t) < case["boundary"] * 1000))
        return {}

    if case["image"]:
        inner = pipe.prepare_latents

        def prepare(*args, **kwargs):
            made = inner(*args, **kwargs)
            io[name + ".condition"] = made[1].clone()
            return made

        pipe.prepare_latents = prepare
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(**call, callback_on_step_end=step).frames
    io[name + ".frames"] = torch.from_numpy(frames[0]).float().contiguous()
    case.update({"w": WIDTH, "h": HEIGHT, "frames": FRAMES, "steps": STEPS, "shift": SHIFT, "experts": experts})


def networks(models, vaes, encoder, processor, pictures, prompts, io):
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    states = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states
    io["clip.pixels"], io["clip.states"] = pixels, states[-2]
    for name in ("i2v", "flf2v"):
        model = models[name][0]
        latents = torch.randn(1, 36, 2, 4, 6, generator=torch.Generator().manual_seed(3))
        image = states[-2][:1] if name == "i2v" else states[-2]
        io[name + ".x"] = latents
        io[name + ".out"] = model(latents, torch.tensor([417.0]), prompts[0], image, return_dict=False)[0]
    latents = torch.randn(1, 8, 3, 4, 6, generator=torch.Generator().manual_seed(4))
    times = torch.tensor([0.0, 611.0, 611.0])
    io["ti2v.x"], io["ti2v.times"] = latents, times.unsqueeze(0)
    every = times.repeat_interleave(2 * 3).unsqueeze(0)
    io["ti2v.out"] = models["ti2v"][0](latents, every, prompts[0], return_dict=False)[0]
    frames = torch.tanh(torch.randn(1, 3, 9, 32, 48, generator=torch.Generator().manual_seed(5)))
    encoded = vaes["ti2v"].encode(frames).latent_dist
    io["vae.frames"], io["vae.mean"], io["vae.logvar"] = frames, encoded.mean, encoded.logvar
    io["vae.decoded"] = vaes["ti2v"].decode(encoded.mean).sample


def resized(pictures, io):
    """Pillow's bytes, and the resize modes of diffusers' VaeImageProcessor."""
    processor = diffusers.image_processor.VaeImageProcessor(vae_scale_factor=8)
    for width, height in ((48, 32), (20, 64), (97, 11)):
        for label, kind in (("bicubic", Image.BICUBIC), ("lanczos", Image.LANCZOS)):
            made = numpy.array(pictures[0].resize((width, height), kind))
            io[f"resample.{label}.{width}x{height}"] = torch.from_numpy(made)
    for width, height in ((48, 32), (32, 48)):
        made = processor.preprocess(pictures[0], height=height, width=width, resize_mode="crop")
        io[f"crop.{width}x{height}"] = made.unsqueeze(2)
    io["picture"], io["last_picture"] = (torch.from_numpy(numpy.array(p)) for p in pictures)


def compact(shapes):
    """Lines of the list: blocks that have the same tensor share one."""
    groups = {}
    for name, shape in shapes.items():
        pieces = name.split(".")
        at = next((i for i, piece in enumerate(pieces) if piece.isdigit() and pieces[i - 1] in ("blocks", "layers")), None)
        key = name if at is None else ".".join(pieces[:at] + ["{}"] + pieces[at + 1:])
        groups.setdefault((key, "x".join(map(str, shape))), []).append(None if at is None else int(pieces[at]))
    lines = []
    for (key, shape), numbers in groups.items():
        if numbers == [None]:
            lines.append(f"{key} {shape}")
            continue
        runs = []
        for number in sorted(numbers):
            if runs and runs[-1][1] == number - 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
        lines.append(f"{key.replace('{}', '{' + text + '}')} {shape}")
    return lines


def write_keys(name, about, shapes):
    numbers = sum(int(numpy.prod(shape)) for shape in shapes.values())
    head = [f"# {line}" for line in about] + ["# dtype F32", f"# tensors {len(shapes)}", f"# numbers {numbers}"]
    (HERE / "keys" / f"{name}.txt").write_text("\n".join(head + compact(shapes)) + "\n")


def key_lists():
    for name, (kind, settings) in KEYS.items():
        with torch.device("meta"):
            shapes = {key: tuple(value.shape) for key, value in kind(**settings).state_dict().items()}
        write_keys(name, ["state_dict of the reference's own module on the meta device:",
                          f"{kind.__name__} of diffusers 0.42.1."], shapes)
    with torch.device("meta"):
        tower = CLIPVisionModel(CLIPVisionConfig(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32,
                                                 num_attention_heads=16, image_size=224, patch_size=14))
    shapes = {"vision_model." + key.removeprefix("vision_model."): tuple(value.shape)
              for key, value in tower.state_dict().items()}
    write_keys("transformers_clip_vit_h", ["image_encoder/ of Wan2.1-I2V-14B-480P-Diffusers.",
                                           "state_dict of CLIPVisionModel of transformers, as its files have it."], shapes)


@torch.no_grad()
def main():
    OUT.mkdir(parents=True, exist_ok=True)
    pictures = [picture(61, 43, 0.0), picture(50, 50, 2.0)]
    pictures[0].save(OUT / "first.png")
    pictures[1].save(OUT / "last.png")
    wan = AutoencoderKLWan.from_config(AutoencoderKLWan.load_config(PARTS / "vae"))
    wan.load_state_dict(load_file(PARTS / "vae" / "diffusion_pytorch_model.safetensors"))
    residual = randomized(AutoencoderKLWan(**RESIDUAL), 50)
    residual.save_pretrained(OUT / "ti2v" / "vae")
    vaes = {"wan": wan.float().eval(), "ti2v": residual}
    encoder = randomized(CLIPVisionModel(CLIPVisionConfig(**CLIP)), 40)
    encoder.save_pretrained(OUT / "image_encoder")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    models = {}
    for i, (name, settings) in enumerate(MODELS.items()):
        high = save_transformer(name, "transformer", settings, 10 + i)
        low = save_transformer(name, "transformer_2", settings, 20 + i) if name.startswith("a14b") else None
        models[name] = (high, low)
    prompts = [0.3 * torch.randn(1, TOKENS, TEXT, generator=torch.Generator().manual_seed(60 + i)) for i in range(2)]
    io = {"prompt": prompts[0], "negative": prompts[1]}
    networks(models, vaes, encoder, processor, pictures, prompts, io)
    resized(pictures, io)
    for case in RUNS:
        run(case, models, vaes, encoder, processor, pictures, prompts, io)
    save_file({name: tensor.contiguous() for name, tensor in io.items()}, OUT / "io.safetensors")
    about = "diffusers 0.42.1 and transformers; made by make_wan_images.py"
    (OUT / "config.json").write_text(json.dumps({"about": about, "runs": RUNS}, indent=1) + "\n")
    key_lists()


main()
