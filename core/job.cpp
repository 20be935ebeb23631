#include "core/job.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"

namespace tessera {
namespace {

constexpr double kLargestSeed = 9007199254740991.0;  // 2^53 - 1: exact in every JSON reader

const std::string kScene = "What to render", kSize = "Size and length", kSampling = "Sampling", kGuidance = "Guidance",
                  kMachine = "Model and machine", kOutput = "Output";

std::vector<JobOption> scene_options() {
  return {
      {.name = "prompt",
       .short_name = "p",
       .field = &Job::prompt,
       .group = kScene,
       .value = "TEXT",
       .help = "What to show; the same as the bare PROMPT"},
      {.name = "negative-prompt",
       .short_name = "n",
       .field = &Job::negative_prompt,
       .group = kScene,
       .value = "TEXT",
       .help = "What to keep away from"},
      {.name = "size",
       .field = SizeField{},
       .group = kSize,
       .value = "WxH",
       .help = "Width and height in one: 832x480 or 832*480",
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
       .help = "Frames, 4k+1 (others are rounded down); 1 makes an image",
       .low = 1,
       .high = 100000},
      {.name = "fps",
       .aliases = {"frame-rate"},
       .field = &Job::fps,
       .group = kSize,
       .value = "N",
       .help = "Frames per second of a video",
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
       .help = "Timestep shift; above 1 spends more steps on the noisy side",
       .low = 0.01,
       .high = 100},
      {.name = "sampler",
       .aliases = {"sampling-method", "sample-solver"},
       .field = &Job::sampler,
       .group = kSampling,
       .value = "NAME",
       .help = "Solver: euler, unipc, dpmpp_2m, heun, dpmpp_2m_sde or sa_solver; see tessera samplers"},
      {.name = "scheduler",
       .aliases = {"schedule"},
       .field = &Job::scheduler,
       .group = kSampling,
       .value = "NAME",
       .help = "How noise levels are spaced: plain, karras or exponential (these two with euler and heun)"},
      {.name = "sigmas",
       .aliases = {"custom-sigmas"},
       .field = &Job::sigmas,
       .group = kSampling,
       .value = "A,B,...",
       .help = "Noise levels before the shift, falling from 1 at most; as many as there are steps"},
      {.name = "seed",
       .short_name = "s",
       .aliases = {"base-seed"},
       .field = &Job::seed,
       .group = kSampling,
       .value = "N",
       .help = "Seed of the first output, output i uses seed + i; -1 picks one and prints it",
       .low = -1,
       .high = kLargestSeed},
      {.name = "max-sequence-length",
       .aliases = {"text-len"},
       .field = &Job::max_sequence_length,
       .group = kSampling,
       .value = "N",
       .help = "Prompt tokens the model sees, padding included; longer prompts are cut",
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
       .help = "Reuse the denoiser's last output while its input has moved by less than this part of itself; try 0.05, "
               "0 is off",
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
       .help = "Classifier-free guidance: how hard to follow the prompt; 1 or less turns it off and halves the work",
       .low = 0,
       .high = 100},
      {.name = "guidance-rescale",
       .aliases = {"cfg-rescale"},
       .field = &Job::guidance_rescale,
       .group = kGuidance,
       .value = "X",
       .help = "Pull the contrast of guided predictions back to unguided ones; try 0.7, 0 is off",
       .low = 0,
       .high = 1},
      {.name = "guidance-interval",
       .aliases = {"cfg-interval"},
       .field = &Job::guidance_interval,
       .group = kGuidance,
       .value = "A:B",
       .help = "Guide this part of the steps alone, e.g. 0:0.8; the rest costs half"},
      {.name = "apg-eta",
       .field = &Job::apg_eta,
       .group = kGuidance,
       .value = "X",
       .help = "Projected guidance (APG): weight of the part that only raises contrast; 0 drops it, 1 keeps it. Any "
               "--apg option turns APG on",
       .low = 0,
       .high = 10},
      {.name = "apg-norm",
       .aliases = {"apg-rescale", "apg-nt", "apg-norm-threshold", "adaptive-projected-guidance-rescale"},
       .field = &Job::apg_norm,
       .group = kGuidance,
       .value = "X",
       .help = "APG: largest norm of the guidance, 0 for no limit; 15 unless said otherwise",
       .low = 0,
       .high = 1e6},
      {.name = "apg-momentum",
       .aliases = {"adaptive-projected-guidance-momentum"},
       .field = &Job::apg_momentum,
       .group = kGuidance,
       .value = "X",
       .help = "APG: momentum of the guidance over steps, usually negative (-0.5)",
       .low = -1,
       .high = 1},
      {.name = "cfg-zero",
       .aliases = {"cfg-zero-star"},
       .field = &Job::cfg_zero,
       .group = kGuidance,
       .help = "CFG-Zero*: fit the unguided prediction to the guided one, and stand still in the first step"},
      {.name = "cfg-zero-steps",
       .aliases = {"zero-init-steps"},
       .field = &Job::cfg_zero_steps,
       .group = kGuidance,
       .value = "N",
       .help = "CFG-Zero*: steps to stand still at first; 1 unless said otherwise",
       .low = 0,
       .high = 1000},
  };
}

std::vector<JobOption> machine_options() {
  return {
      {.name = "model",
       .short_name = "m",
       .aliases = {"model-path", "ckpt-dir", "model-dir"},
       .field = &Job::model,
       .group = kMachine,
       .value = "DIR",
       .help = "Model directory in diffusers' layout; without it the bundled model"},
      {.name = "dtype",
       .aliases = {"precision"},
       .field = &Job::dtype,
       .group = kMachine,
       .value = "NAME",
       .help = "Precision: fp32, bf16, fp16 (GPU), or auto: bf16 where that is fast, fp32 for small fp32 models",
       .choices = {"auto", "fp32", "bf16", "fp16"}},
      {.name = "device",
       .field = &Job::device,
       .group = kMachine,
       .value = "NAME",
       .help = "cpu, cuda, cuda:N, or auto: a GPU when there is one"},
      {.name = "output",
       .short_name = "o",
       .aliases = {"output-path", "save-file"},
       .field = &Job::output,
       .group = kOutput,
       .value = "FILE",
       .help = "x.png, x.mp4, or dir/frame_%04d.png for every frame; without it tessera_SEED.mp4 or .png",
       .recipe = false},
      {.name = "count",
       .aliases = {"batch-count", "num-images-per-prompt", "num-videos-per-prompt"},
       .field = &Job::count,
       .group = kOutput,
       .value = "N",
       .help = "How many outputs; more than one get _0, _1, ... in their names",
       .low = 1,
       .high = 10000,
       .recipe = false},
      {.name = "json",
       .field = &Job::json,
       .group = kOutput,
       .help = "Print one JSON object per output on stdout instead of its path",
       .recipe = false},
      {.name = "quiet",
       .short_name = "q",
       .field = &Job::quiet,
       .group = kOutput,
       .help = "No progress on stderr",
       .recipe = false},
  };
}

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

template <class Number>
bool parse_number(const std::string& text, Number& number) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size();
}

std::string plain(double number) {
  return nlohmann::json(number).dump();
}

std::string plain_limit(double limit) {
  return std::trunc(limit) == limit ? std::to_string(static_cast<int64_t>(limit)) : plain(limit);
}

std::string quoted(const std::string& value) {
  const std::string shown = value.size() > 60 ? value.substr(0, 57) + "..." : value;
  return nlohmann::json(shown).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] void refuse(const JobOption& option, const std::string& wanted, const std::string& value) {
  throw Error("--" + option.name + " wants " + wanted + ", got " + quoted(value));
}

std::string range_text(const JobOption& option, const std::string& kind) {
  return kind + " from " + plain_limit(option.low) + " to " + plain_limit(option.high);
}

int64_t whole_number(const JobOption& option, const std::string& value) {
  int64_t number = 0;
  if (!parse_number(value, number) || static_cast<double>(number) < option.low ||
      static_cast<double>(number) > option.high)
    refuse(option, range_text(option, "a whole number"), value);
  return number;
}

double real_number(const JobOption& option, const std::string& value) {
  double number = 0;
  if (!parse_number(value, number) || !(number >= option.low && number <= option.high))
    refuse(option, range_text(option, "a number"), value);
  return number;
}

bool truth(const JobOption& option, const std::string& value) {
  if (value != "true" && value != "false") refuse(option, "true or false", value);
  return value == "true";
}

std::string allowed_text(const JobOption& option, const std::string& value) {
  const auto& choices = option.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end())
    throw Error("--" + option.name + ": unknown value " + quoted(value) + suggestion(value, choices));
  return value;
}

void set_size(Job& job, const JobOption& option, const std::string& value) {
  const size_t cross = value.find_first_of("xX*");
  if (cross == std::string::npos) refuse(option, "WIDTHxHEIGHT such as 832x480", value);
  int64_t width = 0, height = 0;
  if (!parse_number(value.substr(0, cross), width) || !parse_number(value.substr(cross + 1), height))
    refuse(option, "WIDTHxHEIGHT such as 832x480", value);
  job.width = whole_number(find_job_option("width"), value.substr(0, cross));
  job.height = whole_number(find_job_option("height"), value.substr(cross + 1));
}

/// Calls `visit` with the option's value in `job` when it has one.
template <class Visit>
void visit_value(const Job& job, const JobOption& option, const Visit& visit) {
  std::visit(
      [&](auto field) {
        if constexpr (!std::is_same_v<decltype(field), SizeField>) {
          const auto& value = job.*field;
          if constexpr (requires { value.has_value(); }) {
            if (value) visit(*value);
          } else {
            visit(value);
          }
        }
      },
      option.field);
}

}  // namespace

const std::vector<JobOption>& job_options() {
  static const std::vector<JobOption> options = [] {
    std::vector<JobOption> all = scene_options();
    for (const auto& part : {sampling_options(), guidance_options(), machine_options()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return options;
}

const JobOption& find_job_option(const std::string& name) {
  const std::string wanted = dashed(name);
  std::vector<std::string> known;
  for (const auto& option : job_options()) {
    if (option.name == wanted) return option;
    if (std::find(option.aliases.begin(), option.aliases.end(), wanted) != option.aliases.end()) return option;
    known.push_back(json_key(option));
  }
  throw Error("unknown option \"" + name + "\"" + suggestion(name, known));
}

std::string json_key(const JobOption& option) {
  std::string key = option.name;
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

void set_job_option(Job& job, const JobOption& option, const std::string& value) {
  std::visit(
      [&](auto field) {
        if constexpr (std::is_same_v<decltype(field), SizeField>) {
          set_size(job, option, value);
        } else {
          auto& slot = job.*field;
          using Slot = std::remove_reference_t<decltype(slot)>;
          if constexpr (std::is_same_v<Slot, bool>) {
            slot = truth(option, value);
          } else if constexpr (std::is_same_v<Slot, int64_t> || std::is_same_v<Slot, std::optional<int64_t>>) {
            slot = whole_number(option, value);
          } else if constexpr (std::is_same_v<Slot, std::optional<double>>) {
            slot = real_number(option, value);
          } else {
            slot = allowed_text(option, value);
          }
        }
      },
      option.field);
}

std::string default_text(const JobOption& option) {
  if (std::holds_alternative<SizeField>(option.field) || std::holds_alternative<bool Job::*>(option.field)) return "";
  std::string text = "model default";
  visit_value(Job{}, option, [&](const auto& value) {
    if constexpr (requires { std::to_string(value); })
      text = plain_limit(static_cast<double>(value));
    else
      text = value;
  });
  return text;
}

void apply_json(Job& job, const nlohmann::json& object, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    try {
      if (value.is_structured() || value.is_null())
        throw Error("\"" + key + "\" must be a string, a number or true or false, got " + value.dump().substr(0, 60));
      set_job_option(job, find_job_option(key), value.is_string() ? value.get<std::string>() : value.dump());
    } catch (const Error& e) {
      throw Error(where + ": " + e.what());
    }
  }
}

nlohmann::ordered_json recipe_json(const Job& job) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const auto& option : job_options())
    if (option.recipe) visit_value(job, option, [&](const auto& value) { out[json_key(option)] = value; });
  return out;
}

bool is_model_default(const JobOption& option) {
  return std::visit(
      [](auto field) {
        if constexpr (std::is_same_v<decltype(field), SizeField>)
          return false;
        else
          return requires(Job job) {
            (job.*field).has_value();
          };
      },
      option.field);
}

void fill_unset(Job& job, const Job& defaults) {
  for (const auto& option : job_options())
    std::visit(
        [&](auto field) {
          if constexpr (!std::is_same_v<decltype(field), SizeField>)
            if constexpr (requires { (job.*field).has_value(); })
              if (!(job.*field)) job.*field = defaults.*field;
        },
        option.field);
}

}  // namespace tessera
