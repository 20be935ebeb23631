#include "core/dtype.h"
#include "core/job.h"

namespace tessera {
namespace {

const std::string kScene = "What to render", kSize = "Size and length", kSampling = "Sampling", kGuidance = "Guidance",
                  kMachine = "Model and device", kOutput = "Output";

std::vector<JobOption> scene_options() {
  return {
      {.name = "prompt",
       .short_name = "p",
       .field = &Job::prompt,
       .group = kScene,
       .value = "TEXT",
       .help = "What to render; same as the positional PROMPT"},
      {.name = "negative-prompt",
       .short_name = "n",
       .field = &Job::negative_prompt,
       .group = kScene,
       .value = "TEXT",
       .help = "What to avoid"},
      {.name = "class",
       .aliases = {"class-label", "class-labels"},
       .field = &Job::class_label,
       .group = kScene,
       .value = "NAME|N",
       .help = "Class of a class-conditional model (DiT): a name, a number, or several joined by commas"},
  };
}

std::vector<JobOption> picture_options() {
  return {
      {.name = "image",
       .short_name = "i",
       .aliases = {"init-image", "init-img", "first-frame"},
       .field = &Job::image,
       .group = kScene,
       .value = "FILE",
       .help = "Picture that the video begins with, for image-to-video models"},
      {.name = "last-image",
       .aliases = {"end-image", "end-img", "last-frame"},
       .field = &Job::last_image,
       .group = kScene,
       .value = "FILE",
       .help = "Picture that the video ends with, for models that take one"},
      {.name = "resize-mode",
       .field = &Job::resize_mode,
       .group = kScene,
       .value = "NAME",
       .help = "How these pictures become frames: stretch to the size, crop what is too much, or pad with black",
       .choices = {"stretch", "crop", "pad"}},
  };
}

std::vector<JobOption> size_options() {
  return {
      {.name = "size",
       .field = SizeField{},
       .group = kSize,
       .value = "WxH",
       .help = "Width and height, e.g. 832x480 or 832*480",
       .recipe = false},
      {.name = "width",
       .short_name = "W",
       .field = &Job::width,
       .group = kSize,
       .value = "PIXELS",
       .help = "Width",
       .low = 1,
       .high = 16384},
      {.name = "height",
       .short_name = "H",
       .field = &Job::height,
       .group = kSize,
       .value = "PIXELS",
       .help = "Height",
       .low = 1,
       .high = 16384},
      {.name = "frames",
       .aliases = {"num-frames", "video-frames", "frame-num"},
       .field = &Job::frames,
       .group = kSize,
       .value = "N",
       .help = "Number of frames, 4k+1 (others are rounded down); 1 makes an image",
       .low = 1,
       .high = 100000},
      {.name = "fps",
       .aliases = {"frame-rate"},
       .field = &Job::fps,
       .group = kSize,
       .value = "RATE",
       .help = "Frames per second of a video: 16, 23.976 or 30000/1001",
       .low = 1,
       .high = 240},
  };
}

std::vector<JobOption> sampling_options() {
  return {
      {.name = "steps",
       .aliases = {"num-inference-steps", "sample-steps", "sampling-steps"},
       .field = &Job::steps,
       .group = kSampling,
       .value = "N",
       .help = "Denoising steps",
       .low = 1,
       .high = 1000},
      {.name = "flow-shift",
       .aliases = {"sample-shift", "shift"},
       .field = &Job::flow_shift,
       .group = kSampling,
       .value = "X",
       .help = "Timestep shift; values above 1 spend more steps at high noise levels",
       .low = 0.01,
       .high = 100},
      {.name = "sampler",
       .aliases = {"sampling-method", "sample-solver"},
       .field = &Job::sampler,
       .group = kSampling,
       .value = "NAME",
       .help = "Solver: euler, unipc, dpmpp_2m, heun, dpmpp_2m_sde, sa_solver or lcm; see tessera samplers"},
      {.name = "scheduler",
       .aliases = {"schedule"},
       .field = &Job::scheduler,
       .group = kSampling,
       .value = "NAME",
       .help = "Spacing of the noise levels: plain, karras or exponential (the last two with euler and heun only)"},
      {.name = "sigmas",
       .aliases = {"custom-sigmas"},
       .field = &Job::sigmas,
       .group = kSampling,
       .value = "A,B,...",
       .help = "Explicit noise levels, before the shift: one per step, decreasing, the first at most 1",
       .list = true},
      {.name = "timestep-respacing",
       .aliases = {"respacing"},
       .field = &Job::timestep_respacing,
       .group = kSampling,
       .value = "TEXT",
       .help =
           "Timesteps of ddim and ddpm as in OpenAI's code: 250, ddim50, or 10,15,20 for equal parts; sets the steps"},
      {.name = "eta",
       .field = &Job::eta,
       .group = kSampling,
       .value = "X",
       .help = "Noise that the ddim sampler adds at each step: 0 for none, 1 for as much as ddpm",
       .low = 0,
       .high = 1},
  };
}

std::vector<JobOption> few_step_options() {
  return {
      {.name = "preset",
       .aliases = {"few-steps", "distilled"},
       .field = &Job::preset,
       .group = kSampling,
       .value = "NAME",
       .help = "Sampler, steps, shift and guidance of a distilled model: lightx2v, causvid, fastwan, rcm, ...; see "
               "tessera samplers --presets; what else is given goes before it"},
      {.name = "timesteps",
       .aliases = {"custom-timesteps"},
       .field = &Job::timesteps,
       .group = kSampling,
       .value = "A,B,...",
       .help = "Explicit timesteps as the network is told them, without a shift, e.g. 1000,757,522 (euler, heun, lcm)",
       .list = true},
  };
}

std::vector<JobOption> sample_options() {
  return {
      {.name = "seed",
       .short_name = "s",
       .aliases = {"base-seed"},
       .field = &Job::seed,
       .group = kSampling,
       .value = "N",
       .help = "Seed of the first output (output i uses seed + i); -1 picks a random seed and prints it"},
      {.name = "max-sequence-length",
       .aliases = {"text-len"},
       .field = &Job::max_sequence_length,
       .group = kSampling,
       .value = "N",
       .help = "Prompt length in tokens, padding included; longer prompts are truncated",
       .low = 1,
       .high = 4096},
      {.name = "latents",
       .field = &Job::latents,
       .group = kSampling,
       .value = "FILE[:TENSOR]",
       .help = "Initial noise from a safetensors file"},
      {.name = "step-cache",
       .field = &Job::step_cache,
       .group = kSampling,
       .value = "THRESHOLD",
       .help =
           "Reuse the denoiser's last output while its input changes by less than this fraction; try 0.05; 0 turns it "
           "off",
       .low = 0,
       .high = 10},
  };
}

std::vector<JobOption> guidance_options() {
  return {
      {.name = "cfg-scale",
       .aliases = {"guidance-scale", "sample-guide-scale", "guidance"},
       .field = &Job::cfg_scale,
       .group = kGuidance,
       .value = "X",
       .help = "Classifier-free guidance: how closely to follow the prompt; 1 or less turns it off and halves the work",
       .low = 0,
       .high = 100},
      {.name = "cfg-scale-2",
       .aliases = {"guidance-scale-2"},
       .field = &Job::cfg_scale_2,
       .group = kGuidance,
       .value = "X",
       .help = "Guidance at low noise levels, for models with a denoiser for these (Wan 2.2 A14B); --cfg-scale is that "
               "at high ones. Wan's own code lists low first, diffusers high first",
       .low = 0,
       .high = 100},
      {.name = "cfg-channels",
       .field = &Job::cfg_channels,
       .group = kGuidance,
       .value = "N",
       .help = "DiT: guide only the first N latent channels (0 guides all); the original DiT code guides 3 of 4",
       .low = 0,
       .high = 1024},
      {.name = "guidance-rescale",
       .aliases = {"cfg-rescale"},
       .field = &Job::guidance_rescale,
       .group = kGuidance,
       .value = "X",
       .help = "Rescale guided predictions toward the contrast of the conditional ones; try 0.7; 0 turns it off",
       .low = 0,
       .high = 1},
      {.name = "guidance-interval",
       .aliases = {"cfg-interval"},
       .field = &Job::guidance_interval,
       .group = kGuidance,
       .value = "A:B",
       .help = "Apply guidance only during this part of sampling, e.g. 0:0.8; steps without guidance cost half"},
      {.name = "apg-eta",
       .field = &Job::apg_eta,
       .group = kGuidance,
       .value = "X",
       .help = "Adaptive projected guidance (APG): weight of the component parallel to the prediction, which raises "
               "contrast; 0 drops it, 1 keeps it. Any --apg option turns APG on",
       .low = 0,
       .high = 10},
      {.name = "apg-norm",
       .aliases = {"apg-rescale", "apg-nt", "apg-norm-threshold", "adaptive-projected-guidance-rescale"},
       .field = &Job::apg_norm,
       .group = kGuidance,
       .value = "X",
       .help = "APG: largest norm of the guidance; 0 for no limit; default: 15",
       .low = 0,
       .high = 1e6},
      {.name = "apg-momentum",
       .aliases = {"adaptive-projected-guidance-momentum"},
       .field = &Job::apg_momentum,
       .group = kGuidance,
       .value = "X",
       .help = "APG: momentum of the guidance across steps, usually negative (-0.5)",
       .low = -1,
       .high = 1},
      {.name = "cfg-zero",
       .aliases = {"cfg-zero-star"},
       .field = &Job::cfg_zero,
       .group = kGuidance,
       .help = "CFG-Zero*: scale the unconditional prediction to fit the conditional one, and predict zero for the "
               "first step"},
      {.name = "cfg-zero-steps",
       .aliases = {"zero-init-steps"},
       .field = &Job::cfg_zero_steps,
       .group = kGuidance,
       .value = "N",
       .help = "CFG-Zero*: number of initial steps that predict zero; default: 1",
       .low = 0,
       .high = 1000},
  };
}

std::map<std::string, std::string> dtype_synonyms() {
  std::map<std::string, std::string> synonyms;
  for (const DtypeName& dtype : dtype_names())
    for (const std::string& alias : dtype.aliases) synonyms[alias] = dtype.name;
  return synonyms;
}

std::vector<std::string> precisions() {
  std::vector<std::string> choices = dtype_choices("auto");
  choices.push_back(kInt8Dtype);
  return choices;
}

std::vector<JobOption> machine_options() {
  return {
      {.name = "model",
       .short_name = "m",
       .aliases = {"model-path", "ckpt-dir", "model-dir"},
       .field = &Job::model,
       .group = kMachine,
       .value = "PATH",
       .help = "Model folder or checkpoint, in any layout listed in docs/models.md; default: the bundled model"},
      {.name = "vae",
       .field = &Job::vae,
       .group = kMachine,
       .value = "PATH",
       .help = "Autoencoder (folder or file), for a checkpoint that does not include one"},
      {.name = "lora",
       .key = "loras",
       .aliases = {"loras"},
       .field = &Job::loras,
       .group = kMachine,
       .value = "FILE[:STRENGTH]",
       .help = "LoRA to add to the model, e.g. style.safetensors:0.8; may be given several times (docs/lora.md)",
       .low = -100,
       .high = 100},
      {.name = "vae-tile",
       .aliases = {"vae-tile-size"},
       .field = &Job::vae_tile,
       .group = kMachine,
       .value = "PIXELS",
       .help = "Decode in overlapping tiles of this size, to limit memory use for large frames; 0 decodes whole frames",
       .low = 0,
       .high = 16384},
      {.name = "block-size",
       .field = &Job::block_size,
       .group = kMachine,
       .value = "N",
       .help = "Tokens per MHLA block, for DiT-MHLA checkpoints that do not store it",
       .low = 1,
       .high = 65536},
      {.name = "dtype",
       .aliases = {"precision"},
       .field = &Job::dtype,
       .group = kMachine,
       .value = "NAME",
       .help =
           "Precision: fp32, bf16, fp16 (GPU only), int8 (CPU only: weights and activations of blocks are quantized), "
           "or auto: bf16 where the hardware has it, fp32 for small fp32 models",
       .choices = precisions(),
       .synonyms = dtype_synonyms()},
      {.name = "device",
       .field = &Job::device,
       .group = kMachine,
       .value = "NAME",
       .help = "cpu, cuda (or gpu), cuda:N, or auto: a GPU if there is one"},
      {.name = "stream-layers",
       .field = &Job::stream_layers,
       .group = kMachine,
       .help = "Keep no weights in memory: read each layer from its file for each use (CPU only; slower)",
       .recipe = false},
      {.name = "offload",
       .field = &Job::offload,
       .group = kMachine,
       .value = "NAME",
       .help =
           "What does not stay on a GPU: none, parts (text encoder, transformer and autoencoder come in turn), layers "
           "(their layers are streamed too), or auto: as much as the memory asks for",
       .choices = {"none", "parts", "layers", "auto"},
       .recipe = false},
  };
}

std::vector<JobOption> output_options() {
  return {
      {.name = "output",
       .short_name = "o",
       .aliases = {"output-path", "save-file"},
       .field = &Job::output,
       .group = kOutput,
       .value = "FILE",
       .help = "x.png, x.jpg, x.mp4, or dir/frame_%04d.png for one file per frame; default: tessera_SEED.mp4 or .png",
       .recipe = false},
      {.name = "count",
       .aliases = {"batch-count", "num-images-per-prompt", "num-videos-per-prompt"},
       .field = &Job::count,
       .group = kOutput,
       .value = "N",
       .help = "Number of outputs; if there are several, _0, _1, ... is added to their names",
       .low = 1,
       .high = 10000,
       .recipe = false},
      {.name = "json",
       .field = &Job::json,
       .group = kOutput,
       .help = "Print one JSON object per output to stdout instead of its path",
       .recipe = false},
      {.name = "quiet",
       .short_name = "q",
       .field = &Job::quiet,
       .group = kOutput,
       .help = "Print nothing to stderr but errors",
       .recipe = false},
  };
}

}  // namespace

const std::vector<JobOption>& job_options() {
  static const std::vector<JobOption> options = [] {
    std::vector<JobOption> all = scene_options();
    for (const auto& part : {picture_options(), size_options(), sampling_options(), few_step_options(),
                             sample_options(), guidance_options(), machine_options(), output_options()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return options;
}

}  // namespace tessera
