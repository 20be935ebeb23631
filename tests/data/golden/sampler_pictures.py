"""Makes tests/data/golden/sampler_pictures.safetensors and .json: one picture per flow sampler, rendered by diffusers
0.42.1 (torch 2.11) from the wan_pipeline fixture's model and the prompt states of its run "unipc", with the noise of
torch.Generator("cpu").manual_seed(SEED).
Run: python sampler_pictures.py"""

import json
import pathlib
import sys

import diffusers
import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
FIXTURE = HERE.parent / "fixtures" / "wan_pipeline"
SEED, STEPS, WIDTH, HEIGHT, SCALE = 7, 6, 48, 32, 4.0
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
SCHEDULERS = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    "euler_karras": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_karras_sigmas": True}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
    "unipc": ("UniPCMultistepScheduler", FLOW),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", FLOW),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {**FLOW, "algorithm_type": "sde-dpmsolver++"}),
    "sa_solver": ("SASolverScheduler", FLOW),
    "lcm": ("FlowMatchLCMScheduler", {"shift": 3.0}),
}


def part(cls, folder):
    """One component of the fixture's pipeline in float32."""
    model = cls.from_config(cls.load_config(FIXTURE / "pipeline" / folder))
    model.load_state_dict(load_file(FIXTURE / "pipeline" / folder / "diffusion_pytorch_model.safetensors"))
    return model.float().eval()


def render(pipe, states, cls, settings):
    """The picture [H, W, 3] in [0, 1] and the scheduler's config."""
    pipe.scheduler = getattr(diffusers, cls)(**settings)
    generator = torch.Generator("cpu").manual_seed(SEED)
    # The pipeline hands its scheduler no generator: noise of the steps comes after the latents from the same one.
    sys.modules[type(pipe.scheduler).__module__].randn_tensor = lambda shape, **_: torch.randn(shape, generator=generator)
    latents = torch.randn((1, 16, 1, HEIGHT // 8, WIDTH // 8), generator=generator)
    frames = pipe(prompt_embeds=states["unipc.prompt_embeds"], negative_prompt_embeds=states["unipc.negative_embeds"],
                  num_frames=1, width=WIDTH, height=HEIGHT, num_inference_steps=STEPS, guidance_scale=SCALE,
                  latents=latents, output_type="np").frames
    config = {k: v for k, v in pipe.scheduler.config.items() if not k.startswith("_") and k != "lambda_min_clipped"}
    return torch.from_numpy(frames[0, 0]).contiguous(), {"_class_name": cls, **config}


def main():
    pipe = diffusers.WanPipeline(tokenizer=None, text_encoder=None, scheduler=diffusers.UniPCMultistepScheduler(**FLOW),
                                 transformer=part(diffusers.WanTransformer3DModel, "transformer"),
                                 vae=part(diffusers.AutoencoderKLWan, "vae"))
    states = load_file(FIXTURE / "io.safetensors")
    pipe.set_progress_bar_config(disable=True)
    pictures, schedulers = {}, {}
    for name, (cls, settings) in SCHEDULERS.items():
        pictures[name], schedulers[name] = render(pipe, states, cls, settings)
    run = next(run for run in json.loads((FIXTURE / "config.json").read_text())["runs"] if run["name"] == "unipc")
    call = {"seed": SEED, "steps": STEPS, "width": WIDTH, "height": HEIGHT, "cfg_scale": SCALE,
            "max_sequence_length": run["max_len"], "prompt": run["prompt"], "negative_prompt": run["negative"]}
    about = "one picture per sampler by diffusers 0.42.1; made by sampler_pictures.py"
    text = json.dumps({"about": about, "call": call, "schedulers": schedulers}, indent=1, default=str)
    (HERE / "sampler_pictures.json").write_text(text + "\n")
    save_file(pictures, HERE / "sampler_pictures.safetensors")
    for name, picture in pictures.items():
        print(name, [round(float(x), 4) for x in (picture.mean(), picture.std(), (picture - pictures["unipc"]).abs().max())])


main()
