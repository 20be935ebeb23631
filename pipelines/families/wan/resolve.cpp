#include "pipelines/families/wan/resolve.h"

#include <algorithm>

#include "core/error.h"
#include "core/paths.h"
#include "core/sha256.h"
#include "core/text.h"
#include "media/frame_writer.h"
#include "models/umt5/prompt_clean.h"
#include "pipelines/families/wan/image_condition.h"
#include "pipelines/families/wan/sampling.h"
#include "pipelines/few_steps.h"
#include "pipelines/prompt_syntax.h"
#include "pipelines/recipe.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

constexpr size_t kLargestPrompt = 65536;
constexpr int64_t kMostDecodeBytes = int64_t{8} << 30;
constexpr int64_t kAutomaticTile = 64;  // latent pixels

void check_prompt(const std::string& text, const std::string& what) {
  if (text.size() > kLargestPrompt)
    throw Error("the " + what + " has " + std::to_string(text.size()) + " bytes, at most " +
                std::to_string(kLargestPrompt) + " are allowed; shorten it");
}

void check_prompts(const Job& job) {
  check_prompt(job.prompt, "prompt");
  check_prompt(job.negative_prompt, "negative prompt");
  clean_prompt(job.negative_prompt);
  if (clean_prompt(job.prompt).empty())
    throw Error("the prompt is empty; say what to show, e.g. tessera generate \"a red star on a blue background\"");
}

void take_size_of(const at::Tensor& latents, const WanModel& model, Job& job) {
  if (!job.frames) job.frames = model.frames_of(latents.size(2));
  if (!job.height) job.height = latents.size(3) * model.vae.spatial_stride();
  if (!job.width) job.width = latents.size(4) * model.vae.spatial_stride();
}

/// A picture that is wanted, or one that is not.
void check_picture(const InputPicture& picture, const std::string& option, bool taken, bool needed) {
  if (picture.empty() && needed)
    throw Error("this model makes videos from a picture: give it with --" + option + " FILE");
  if (!picture.empty() && !taken)
    throw Error("--" + option + " " + picture.path +
                ": this model takes no such picture; omit it, or choose a model that does (docs/models.md)");
}

/// Notes the content of a picture. One that a recipe names is not needed to decode, so it may be gone.
void take_picture(InputPicture& picture, const std::string& option, std::vector<std::string>& notes) {
  if (picture.empty() || (!picture.sha256.empty() && !is_file(picture.path))) return;
  read_input_picture(picture, option);
  Sha256 content;
  content.update_file(picture.path);
  const std::string found = content.hex();
  if (!picture.sha256.empty() && picture.sha256 != found)
    notes.push_back(picture.path + " has changed since the recipe was made: pixels may differ");
  picture.sha256 = found;
}

void take_pictures(Job& job, const WanModel& model, std::vector<std::string>& notes) {
  check_picture(job.image, "image", model.takes_image(), model.needs_image());
  check_picture(job.last_image, "last-image", model.takes_last_image(), model.needs_last_image());
  take_picture(job.image, "image", notes);
  take_picture(job.last_image, "last-image", notes);
  if (job.resize_mode && job.image.empty()) notes.emplace_back("--resize-mode has no effect without --image");
}

/// A clip that begins with a picture has its shape, unless a size is given.
void take_shape_of_picture(Job& job, const WanModel& model, const Job& defaults) {
  if (job.image.empty() || job.width || job.height || !is_file(job.image.path)) return;
  const auto [width, height] =
      size_like_picture(read_input_picture(job.image, "image"), model, *defaults.width, *defaults.height);
  job.width = width;
  job.height = height;
}

/// Guidance of the second expert: what the user says of one goes for both.
void take_second_guidance(Job& job, const WanModel& model) {
  if (job.cfg_scale_2 && !model.transformer_2)
    throw Error("--cfg-scale-2 is for models with two denoisers (Wan 2.2 A14B), this one has one; use --cfg-scale");
  if (model.transformer_2 && job.cfg_scale && !job.cfg_scale_2) job.cfg_scale_2 = job.cfg_scale;
}

std::string size_text(int64_t width, int64_t height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

void check_size(const Job& job, const WanModel& model) {
  const int64_t across = model.width_multiple(), down = model.height_multiple();
  const int64_t width = *job.width, height = *job.height;
  if (width % across == 0 && height % down == 0) return;
  const auto below = [](int64_t size, int64_t step) { return std::max(step, size / step * step); };
  const auto above = [](int64_t size, int64_t step) { return (size + step - 1) / step * step; };
  const std::string lower = size_text(below(width, across), below(height, down));
  const std::string upper = size_text(above(width, across), above(height, down));
  throw Error("size " + size_text(width, height) + " does not fit this model: width must be a multiple of " +
              std::to_string(across) + " and height of " + std::to_string(down) + "; the nearest is " + lower +
              (lower == upper ? "" : " or " + upper));
}

void round_frames(Job& job, const WanModel& model, std::vector<std::string>& notes) {
  const int64_t taken = model.frames_of(model.latent_frames_in(*job.frames));
  if (taken == *job.frames) return;
  notes.push_back("frames must be " + std::to_string(model.vae.temporal_stride()) + "k+1 for this model: rendering " +
                  std::to_string(taken) + " instead of " + std::to_string(*job.frames));
  job.frames = taken;
}

void check_latents(const at::Tensor& latents, const Job& job, const WanModel& model) {
  std::vector<int64_t> want = latent_shape(job, model);
  want[0] = job.count;
  if (latents.sizes() != at::IntArrayRef(want))
    throw Error(c10::str("--latents ", job.latents, ": ", counted(job.count, "output"), " of ",
                         size_text(*job.width, *job.height), " and ", counted(*job.frames, "frame"), " want ",
                         at::IntArrayRef(want), ", got ", latents.sizes()));
}

void choose_output(Job& job, std::vector<std::string>& notes) {
  if (job.output.empty()) job.output = "tessera_" + job.seed.text() + (*job.frames == 1 ? ".png" : ".mp4");
  if (output_kind(job.output) == OutputKind::kImage && *job.frames != 1)
    throw Error(single_file(job.output).string() + " holds one image, not " + std::to_string(*job.frames) +
                " frames; use frame_%04d.png for all of them, x.mp4 for a video, or --frames 1");
  if (const std::string note = check_frame_rate(job.output, *job.fps); !note.empty()) notes.push_back(note);
}

/// Decides on tiles where the user did not: whole frames, unless they would take more memory than most have.
void choose_vae_tile(Job& job, const WanModel& model, std::vector<std::string>& notes) {
  const int64_t stride = model.vae.spatial_stride(), smallest = WanVae::kSmallestTile * stride;
  if (job.vae_tile && *job.vae_tile > 0 && *job.vae_tile < smallest)
    throw Error("--vae-tile " + std::to_string(*job.vae_tile) + " is too small for this model: want at least " +
                std::to_string(smallest) + ", or 0 to decode whole frames");
  if (job.vae_tile) return;
  const int64_t bytes = whole_decode_bytes(model.vae, *job.frames, *job.height, *job.width);
  if (bytes <= kMostDecodeBytes) return;
  job.vae_tile = kAutomaticTile * stride;
  notes.push_back("decoding whole frames of " + size_text(*job.width, *job.height) + " would take about " +
                  std::to_string(bytes >> 30) + " GiB: decoding in tiles of " + std::to_string(*job.vae_tile) +
                  " pixels (--vae-tile 0 for whole frames)");
}

/// What only class-conditional models take.
void check_no_class_options(const Job& job) {
  const std::pair<const char*, bool> options[] = {{"class", job.class_label.has_value()},
                                                  {"eta", job.eta.has_value()},
                                                  {"timestep-respacing", job.timestep_respacing.has_value()},
                                                  {"cfg-channels", job.cfg_channels.has_value()},
                                                  {"vae", job.vae.has_value()},
                                                  {"block-size", job.block_size.has_value()}};
  for (const auto& [name, given] : options)
    if (given)
      throw Error(std::string("--") + name + " is for class-conditional models (DiT); this model renders a prompt");
}

/// Some models have other defaults for sizes nearer to 1280x720 than to 832x480.
void take_720p_defaults(const Job& job, const WanModel& model, Job& defaults) {
  constexpr int64_t kBetween = (832 * 480 + 1280 * 720) / 2;
  const int64_t pixels = job.width.value_or(*defaults.width) * job.height.value_or(*defaults.height);
  if (pixels < kBetween || !model.folder.index.has("generation_defaults_720p")) return;
  const JsonConfig large = model.folder.index.object("generation_defaults_720p");
  apply_json(defaults, large.json(), large.where());
}

void check_allowed_defaults(const nlohmann::json& object, const std::string& where) {
  for (const auto& [key, value] : object.items())
    if (!is_model_default(find_job_option(key))) throw Error(where + ": " + key + " cannot be set by the model");
}

/// Wan's own numbers for a model of that kind; its programs and the configs of Wan 2.2.
Job release_settings(const WanModel& model) {
  Job wan;
  wan.width = 832;
  wan.height = 480;
  wan.frames = 81;
  wan.fps = FrameRate{16, 1};
  wan.steps = 50;
  wan.cfg_scale = 5.0;
  wan.max_sequence_length = 512;
  if (model.expand_timesteps) {
    wan.width = 1280;
    wan.height = 704;
    wan.frames = 121;
    wan.fps = FrameRate{24, 1};
  } else if (model.transformer_2) {  // Wan lists the guidance of low levels first
    wan.steps = 40;
    wan.cfg_scale = model.needs_image() ? 3.5 : 4.0;
    wan.cfg_scale_2 = model.needs_image() ? 3.5 : 3.0;
  } else if (model.needs_last_image()) {
    wan.width = 1280;
    wan.height = 720;
  } else if (model.needs_image()) {
    wan.steps = 40;
  }
  return wan;
}

}  // namespace

Job model_defaults(const WanModel& model) {
  Job defaults;
  if (model.folder.index.has("generation_defaults")) {
    const JsonConfig own = model.folder.index.object("generation_defaults");
    apply_json(defaults, own.json(), own.where());
    check_allowed_defaults(own.json(), own.where());
  }
  Job wan = release_settings(model);
  if (!model.scheduler.dynamic_shift) wan.flow_shift = model.scheduler.flow_shift;
  wan.sampler = model.scheduler.sampler;
  wan.scheduler = sigma_curve_name(model.scheduler.sigma_curve);
  std::vector<std::string> unheard;
  take_preset(defaults, unheard);
  defaults.preset.reset();  // its settings are the model's own now
  take_levels(defaults, model.scheduler.train_steps);
  fill_unset(defaults, wan);
  return defaults;
}

Job resolve_job(Job job, const WanModel& model, const at::Tensor& latents, std::vector<std::string>& notes) {
  check_no_class_options(job);
  check_prompts(job);
  for (const std::string& note : literal_syntax_notes(job.prompt + "\n" + job.negative_prompt)) notes.push_back(note);
  if (!job.frames && !job.output.empty() && output_kind(job.output) == OutputKind::kImage) job.frames = 1;
  take_pictures(job, model, notes);
  if (latents.defined()) take_size_of(latents, model, job);
  take_preset(job, notes);
  Job defaults = model_defaults(model);
  take_shape_of_picture(job, model, defaults);
  take_second_guidance(job, model);
  take_720p_defaults(job, model, defaults);
  fill_schedule(job, defaults);
  take_levels(job, model.scheduler.train_steps);
  if (!job.flow_shift && !model.scheduler.dynamic_shift) job.flow_shift = model.scheduler.flow_shift;
  check_size(job, model);
  round_frames(job, model, notes);
  if (!job.last_image.empty() && *job.frames == 1)
    throw Error("--last-image wants more than one frame, and --frames is 1: omit one of them");
  choose_vae_tile(job, model, notes);
  check_sampling(job, model, notes);
  if (latents.defined()) check_latents(latents, job, model);
  settle_seed(job);
  choose_output(job, notes);
  if (!guidance_of(job, model).guides() && !job.negative_prompt.empty())
    notes.push_back("the negative prompt has no effect without guidance (--cfg-scale 1 or less)");
  return job;
}

}  // namespace tessera
