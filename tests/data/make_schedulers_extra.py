"""Makes tests/data/fixtures/schedulers_extra: trajectories of diffusers 0.42.1 (torch 2.11) in the format of the
schedulers fixture, for settings that it lacks, and guided predictions. Run: python make_schedulers_extra.py OUTPUT_FOLDER"""

import json
import pathlib
import sys

import diffusers
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale
from diffusers.guiders.guider_utils import rescale_noise_cfg
from safetensors.torch import save_file

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
RUNS = [
    ("ddim_eta", "DDIMScheduler", {"clip_sample": False}, 7, {"eta": 0.5}),
    ("ddim_clip_sample_linspace", "DDIMScheduler", {"prediction_type": "sample", "timestep_spacing": "linspace"}, 6, {}),
    ("ddim_trailing_uneven", "DDIMScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}, 7, {}),
    ("ddpm_trailing_v", "DDPMScheduler",
     {"clip_sample": False, "timestep_spacing": "trailing", "prediction_type": "v_prediction", "variance_type": "fixed_small_log"}, 6, {}),
    ("ddpm_cosine_linspace", "DDPMScheduler",
     {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "linspace", "variance_type": "fixed_large"}, 9, {}),
    ("ddpm_learned_range", "DDPMScheduler",
     {"clip_sample": False, "timestep_spacing": "linspace", "variance_type": "learned_range"}, 8, {}),
    ("euler_trailing_sigma_min", "EulerDiscreteScheduler",
     {**STABLE, "timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}, 7, {}),
    ("euler_exponential", "EulerDiscreteScheduler", {**STABLE, "use_exponential_sigmas": True}, 8, {}),
    ("euler_zero_snr_v", "EulerDiscreteScheduler",
     {**STABLE, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}, 8, {}),
    ("euler_a", "EulerAncestralDiscreteScheduler", dict(STABLE), 8, {}),
    ("euler_a_leading_v", "EulerAncestralDiscreteScheduler",
     {**STABLE, "timestep_spacing": "leading", "steps_offset": 1, "prediction_type": "v_prediction"}, 6, {}),
    ("heun_v_leading", "HeunDiscreteScheduler",
     {**STABLE, "prediction_type": "v_prediction", "timestep_spacing": "leading"}, 6, {}),
    ("heun_clip_sample", "HeunDiscreteScheduler", {**STABLE, "clip_sample": True}, 5, {}),
    ("dpmpp_sde", "DPMSolverMultistepScheduler", {**STABLE, "algorithm_type": "sde-dpmsolver++"}, 8, {}),
    ("dpmpp_sde_heun_many", "DPMSolverMultistepScheduler",
     {**STABLE, "algorithm_type": "sde-dpmsolver++", "solver_type": "heun", "final_sigmas_type": "sigma_min"}, 17, {}),
    ("dpmpp_sde_flow", "DPMSolverMultistepScheduler", {**FLOW, "algorithm_type": "sde-dpmsolver++", "flow_shift": 2.0}, 6, {}),
    ("dpmpp_order1", "DPMSolverMultistepScheduler", {**STABLE, "solver_order": 1}, 6, {}),
    ("dpmpp_cosine_clipped", "DPMSolverMultistepScheduler",
     {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, 9, {}),
    ("dpmpp_exponential_leading", "DPMSolverMultistepScheduler",
     {**STABLE, "use_exponential_sigmas": True, "timestep_spacing": "leading", "euler_at_final": True}, 9, {}),
    ("dpmpp_sigma_min_trailing_sample", "DPMSolverMultistepScheduler",
     {**STABLE, "final_sigmas_type": "sigma_min", "timestep_spacing": "trailing", "prediction_type": "sample"}, 16, {}),
    ("dpmpp_flow_dynamic", "DPMSolverMultistepScheduler", {**FLOW, "use_dynamic_shifting": True}, 6, {"mu": 0.7}),
    ("unipc_v_leading", "UniPCMultistepScheduler",
     {**STABLE, "prediction_type": "v_prediction", "timestep_spacing": "leading", "steps_offset": 1}, 9, {}),
    ("unipc_karras_sample", "UniPCMultistepScheduler",
     {**STABLE, "use_karras_sigmas": True, "prediction_type": "sample", "final_sigmas_type": "sigma_min"}, 9, {}),
    ("unipc_exponential_trailing", "UniPCMultistepScheduler", {**STABLE, "use_exponential_sigmas": True}, 8, {}),
    ("unipc_zero_snr_v", "UniPCMultistepScheduler",
     {**STABLE, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}, 7, {}),
    ("unipc_order3_bh1_no_corrector", "UniPCMultistepScheduler",
     {**STABLE, "solver_order": 3, "solver_type": "bh1", "disable_corrector": [0, 3], "final_sigmas_type": "sigma_min"}, 9, {}),
    ("unipc_order1_flow", "UniPCMultistepScheduler", {**FLOW, "solver_order": 1, "flow_shift": 7.0}, 6, {}),
    ("unipc_flow_dynamic", "UniPCMultistepScheduler", {**FLOW, "use_dynamic_shifting": True}, 6, {"mu": 1.1}),
    ("unipc_one_step", "UniPCMultistepScheduler", {**FLOW, "flow_shift": 3.0}, 1, {}),
    ("flow_euler_terminal", "FlowMatchEulerDiscreteScheduler", {"shift": 2.5, "shift_terminal": 0.1}, 7, {}),
    ("flow_euler_karras", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_karras_sigmas": True}, 7, {}),
    ("flow_euler_exponential", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_exponential_sigmas": True}, 7, {}),
    ("flow_euler_large_shift_many", "FlowMatchEulerDiscreteScheduler", {"shift": 11.0}, 33, {}),
    ("flow_euler_one_step", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 1, {}),
    ("flow_heun_two_steps", "FlowMatchHeunDiscreteScheduler", {"shift": 5.0}, 2, {}),
    ("sa_solver", "SASolverScheduler", dict(STABLE), 9, {}),
    ("sa_solver_one_step", "SASolverScheduler", dict(STABLE), 1, {}),
    ("sa_solver_flow", "SASolverScheduler", {**FLOW, "flow_shift": 3.0}, 12, {}),
    ("sa_solver_orders_3_1_v", "SASolverScheduler",
     {**STABLE, "predictor_order": 3, "corrector_order": 1, "prediction_type": "v_prediction",
      "timestep_spacing": "leading", "steps_offset": 1}, 11, {}),
    ("sa_solver_orders_1_3_karras", "SASolverScheduler",
     {**STABLE, "predictor_order": 1, "corrector_order": 3, "use_karras_sigmas": True, "lower_order_final": False}, 8, {}),
    ("sa_solver_exponential_trailing_sample", "SASolverScheduler",
     {**STABLE, "use_exponential_sigmas": True, "timestep_spacing": "trailing", "prediction_type": "sample"}, 7, {}),
]


def run(name, cls, kwargs, steps, extra, x0, tensors):
    """One trajectory on the analytic model; returns its config entry."""
    scheduler = getattr(diffusers, cls)(num_train_timesteps=1000, **kwargs)
    scheduler.set_timesteps(steps, **({"mu": extra["mu"]} if "mu" in extra else {}))
    draws = []
    generator = torch.Generator("cpu").manual_seed(len(tensors))

    def draw(shape, **_):
        draws.append(torch.randn(shape, generator=generator))
        return draws[-1]

    module = sys.modules[type(scheduler).__module__]
    module.randn_tensor = draw
    start = getattr(scheduler, "init_noise_sigma", 1.0)
    x = x0 * start
    samples = [x]
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        output = 0.3 * seen + 0.2 * torch.sin(seen) + 0.1 * torch.sin(torch.tensor(float(t), dtype=torch.float64) / 1000).item()
        if kwargs.get("variance_type") == "learned_range":
            output = torch.cat([output, torch.sin(seen)], dim=1)
        x = scheduler.step(output, t, x, **({"eta": extra["eta"]} if "eta" in extra else {})).prev_sample
        samples.append(x)
    tensors[name + ".samples"] = torch.stack(samples)
    tensors[name + ".timesteps"] = scheduler.timesteps.double()
    tensors[name + ".init_noise_sigma"] = torch.as_tensor(start, dtype=torch.float64)
    if getattr(scheduler, "sigmas", None) is not None:
        tensors[name + ".sigmas"] = scheduler.sigmas.double()
    if hasattr(scheduler, "alphas_cumprod"):
        tensors[name + ".alphas_cumprod_every50"] = scheduler.alphas_cumprod[::50].double()
    if draws:
        tensors[name + ".noise"] = torch.stack(draws)
    full = {k: v for k, v in scheduler.config.items() if not k.startswith("_")}
    full["flow_shift"] = kwargs.get("flow_shift", 1.0) if "flow_shift" in full else None
    return {"name": name, "cls": cls, "kwargs": kwargs, "steps": steps, **extra, "full_config": full}


def guidance(tensors):
    """Predictions of two branches, and what diffusers' guiders make of them."""
    generator = torch.Generator("cpu").manual_seed(6)
    cond, uncond = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    guided = uncond + 4.5 * (cond - uncond)
    projected = [normalized_guidance(cond, uncond, 4.5, None, 0.3, 2.0)]
    buffer = MomentumBuffer(-0.5)
    projected += [normalized_guidance(c, uncond, 4.5, buffer, 0.3, 2.0) for c in (cond, 0.5 * cond)]
    star = cfg_zero_star_scale(cond.flatten(1), uncond.flatten(1)).view(2, 1, 1) * uncond
    results = {"cond": cond, "uncond": uncond, "rescaled": rescale_noise_cfg(guided, cond, 0.7),
               "projected": torch.stack(projected), "zero_star": star + 4.5 * (cond - star)}
    tensors.update({"guidance." + name: value for name, value in results.items()})


def main(folder):
    x0 = torch.randn(1, 3, 4, generator=torch.Generator("cpu").manual_seed(5))
    tensors = {"x0": x0}
    runs = [run(*entry, x0, tensors) for entry in RUNS]
    guidance(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    about = "diffusers 0.42.1 schedulers on the analytic model of the schedulers fixture; made by make_schedulers_extra.py"
    (folder / "config.json").write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "io.safetensors")


main(pathlib.Path(sys.argv[1]))
