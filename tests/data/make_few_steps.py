"""Makes tests/data/fixtures/few_steps: trajectories of diffusers 0.42.1's FlowMatchLCMScheduler on the analytic model of
the schedulers fixture, with the noise that it drew, and the schedules that few-step distillations publish, by their own
formulas. Run: python make_few_steps.py OUTPUT_FOLDER"""

import json
import math
import pathlib
import sys

import diffusers
import torch
from diffusers.schedulers import scheduling_flow_match_lcm
from safetensors.torch import save_file

LIGHTX2V = [1.0, 0.75, 0.5, 0.25]
RUNS = [
    ("four_steps", {"shift": 5.0}, {"num_inference_steps": 4}),
    ("eight_steps", {"shift": 5.0}, {"num_inference_steps": 8}),
    ("one_step", {"shift": 5.0}, {"num_inference_steps": 1}),
    ("sigmas", {"shift": 5.0}, {"sigmas": LIGHTX2V}),
    ("timesteps", {"shift": 1.0}, {"timesteps": [1000, 757, 522]}),
    ("fractional_timesteps", {"shift": 1.0}, {"timesteps": [987.654, 933.781, 852.895, 608.979]}),
    ("dynamic", {"use_dynamic_shifting": True}, {"num_inference_steps": 5, "mu": 0.9}),
    ("terminal", {"shift": 3.0, "shift_terminal": 0.1}, {"num_inference_steps": 5}),
    ("karras", {"shift": 3.0, "use_karras_sigmas": True}, {"num_inference_steps": 6}),
    ("exponential", {"shift": 3.0, "use_exponential_sigmas": True}, {"num_inference_steps": 6}),
    ("other_train_steps", {"shift": 2.0, "num_train_timesteps": 500}, {"num_inference_steps": 4}),
]


def run(name, kwargs, plan, x0, tensors):
    """One trajectory; returns its config entry."""
    scheduler = diffusers.FlowMatchLCMScheduler(**kwargs)
    scheduler.set_timesteps(**plan)
    generator = torch.Generator("cpu").manual_seed(len(tensors))
    draws = []

    def draw(shape, **_):
        draws.append(torch.randn(shape, generator=generator))
        return draws[-1]

    scheduling_flow_match_lcm.randn_tensor = draw
    x, samples = x0, [x0]
    for t in scheduler.timesteps:
        output = 0.3 * x + 0.2 * torch.sin(x) + 0.1 * torch.sin(torch.tensor(float(t), dtype=torch.float64) / 1000).item()
        x = scheduler.step(output, t, x).prev_sample
        samples.append(x)
    tensors[name + ".samples"] = torch.stack(samples)
    tensors[name + ".noise"] = torch.stack(draws)
    tensors[name + ".timesteps"] = scheduler.timesteps.double()
    tensors[name + ".sigmas"] = scheduler.sigmas.double()
    full = {k: v for k, v in scheduler.config.items() if not k.startswith("_")}
    return {"name": name, "plan": plan, "config": {"_class_name": "FlowMatchLCMScheduler", **full}}


def warped(steps, shift):
    """LightX2V's and CausVid's reading of denoising_step_list: places in the shifted table of 1000 levels."""
    table = torch.linspace(1.0, 0.0, 1001, dtype=torch.float64)[:-1]
    table = shift * table / (1 + (shift - 1) * table)
    return [1000 * float(table[1000 - step]) for step in steps]


def rcm(sigma_max, angles):
    """rCM's angles of TrigFlow as timesteps of a rectified flow."""
    return [1000 * math.sin(a) / (math.cos(a) + math.sin(a)) for a in [math.atan(sigma_max), *angles]]


def presets():
    """What each distillation's own code tells its network."""
    return {"lightx2v": warped([1000, 750, 500, 250], 5.0),
            "lightx2v-8": warped([1000, 875, 750, 625, 500, 375, 250, 125], 5.0),
            "causvid": [1000, 757, 522], "fastwan": [1000, 757, 522], "rcm": rcm(80, [1.5, 1.4, 1.0])}


def main(folder):
    x0 = torch.randn(1, 3, 4, generator=torch.Generator("cpu").manual_seed(5))
    tensors = {"x0": x0}
    runs = [run(*entry, x0, tensors) for entry in RUNS]
    folder.mkdir(parents=True, exist_ok=True)
    about = "diffusers 0.42.1 FlowMatchLCMScheduler, and published few-step schedules; made by make_few_steps.py"
    config = {"about": about, "runs": runs, "presets": presets()}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "io.safetensors")


main(pathlib.Path(sys.argv[1]))
