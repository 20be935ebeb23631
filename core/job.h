#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/frame_rate.h"
#include "core/seed.h"

namespace tessera {

/// A LoRA over the model's weights.
struct LoraUse {
  std::string path;      ///< a file, or a folder that holds one
  double strength = 1;   ///< times what the file holds
  std::string sha256{};  ///< of the content, in a resolved job and in recipes; "" before
  std::string expert{};  ///< of a model with two denoisers: "high" or "low" noise levels; "": both

  bool operator==(const LoraUse&) const = default;
};

/// A picture that a render begins or ends with.
struct InputPicture {
  std::string path;      ///< "": none
  std::string sha256{};  ///< of the file, in a resolved job and in recipes; "" before

  bool empty() const { return path.empty(); }
  bool operator==(const InputPicture&) const = default;
};

/// One render as the user requested it. An unset option takes the model's default (see pipelines/recipe.h).
struct Job {
  std::string prompt;
  std::string negative_prompt;
  std::string model;                     ///< a model in any known layout; empty: the bundled model
  std::string output;                    ///< x.png, x.mp4 or dir/frame_%04d.png; empty: named after the seed
  std::vector<LoraUse> loras;            ///< added to the weights in this order
  InputPicture image;                    ///< first frame of an image-to-video model
  InputPicture last_image;               ///< last frame, for models that take one
  std::string latents;                   ///< initial noise, FILE[:TENSOR]; empty: drawn from the seed
  std::optional<int64_t> width, height;  ///< pixels
  std::optional<int64_t> frames;
  std::optional<FrameRate> fps;
  std::optional<int64_t> steps;
  std::optional<double> cfg_scale;
  std::optional<double> cfg_scale_2;  ///< at low noise levels, for models with a denoiser for these
  std::optional<double> flow_shift;   ///< unset for a model whose shift depends on the size
  std::optional<std::string> sampler;
  std::optional<std::string> scheduler;  ///< spacing of the noise levels
  std::optional<std::string> sigmas;     ///< explicit noise levels, comma-separated; they set the steps
  std::optional<std::string> timesteps;  ///< explicit timesteps, comma-separated; they set the steps and need no shift
  std::optional<std::string> preset;     ///< of a distilled model, see samplers/presets.h
  std::optional<std::string> resize_mode;  ///< how pictures become frames: stretch, crop or pad
  std::optional<double> guidance_rescale;
  std::optional<std::string> guidance_interval;  ///< START:STOP, fractions of the model calls
  std::optional<double> apg_eta, apg_norm, apg_momentum;
  bool cfg_zero = false;
  std::optional<int64_t> cfg_zero_steps;
  std::optional<double> step_cache;               ///< threshold, see samplers/step_cache.h
  std::optional<int64_t> max_sequence_length;     ///< prompt tokens, padding included
  std::optional<std::string> class_label;         ///< for class-conditional models: a name, a number or a list
  std::optional<std::string> timestep_respacing;  ///< "20", "ddim20" or "4,3,5", see samplers/schedule.h
  std::optional<double> eta;                      ///< noise that DDIM adds: 0 none, 1 as much as DDPM
  std::optional<int64_t> cfg_channels;            ///< guide the first N channels only; 0: all
  std::optional<std::string> vae;                 ///< autoencoder for a model that comes without one: folder or file
  std::optional<int64_t> vae_tile;                ///< side of the decoder's tiles in pixels; 0: whole frames
  std::optional<int64_t> block_size;              ///< tokens in an MHLA block, when the checkpoint does not say
  Seed seed;                                      ///< of the first output; output i uses seed + i; -1: random
  int64_t count = 1;
  std::string dtype = "auto";
  std::string device = "auto";
  bool stream_layers = false;    ///< read weights from their file for each use
  std::string offload = "auto";  ///< what of the model is on a GPU and when, see pipelines/offload.h
  bool json = false;
  bool quiet = false;
  std::string model_fingerprint;  ///< of a resolved job, see checkpoints/fingerprint.h; no option
};

/// `--size 832x480`: sets width and height at once.
struct SizeField {};

using JobField = std::variant<std::string Job::*, std::optional<std::string> Job::*, std::optional<int64_t> Job::*,
                              std::optional<double> Job::*, std::optional<FrameRate> Job::*, Seed Job::*,
                              int64_t Job::*, bool Job::*, std::vector<LoraUse> Job::*, InputPicture Job::*, SizeField>;

/// An option in all its forms: flag, aliases, JSON key, metadata, help text.
struct JobOption {
  std::string name = {};                  ///< canonical, words joined by '-'; its JSON key joins them by '_'
  std::string key = {};                   ///< the JSON key where it is another one
  std::string short_name = {};            ///< one letter, or empty
  std::vector<std::string> aliases = {};  ///< hidden: the names that similar programs use
  JobField field = {};
  std::string group = {};  ///< heading in --help
  std::string value = {};  ///< placeholder in --help, e.g. "N"
  std::string help = {};
  double low = 0, high = 0;                          ///< inclusive limits of a number
  std::vector<std::string> choices = {};             ///< allowed texts; empty allows any
  std::map<std::string, std::string> synonyms = {};  ///< other accepted texts -> the choice that is kept instead
  bool list = false;                                 ///< a text of numbers joined by commas
  bool recipe = true;                                ///< affects the pixels (stored in the metadata)
};

/// The one table of options, in the order of --help.
const std::vector<JobOption>& job_options();

/// The option with that name or alias; '-' and '_' are the same. Throws Error with the nearest name.
const JobOption& find_job_option(const std::string& name);

/// cfg-scale -> cfg_scale.
std::string json_key(const JobOption& option);

/// The value of an option that is given several times: the last one; of a list, all of them.
std::string value_of_all(const JobOption& option, const std::vector<std::string>& given);

/// Parses and checks `value`; that of a list (LoRAs) is one FILE[:STRENGTH], or a JSON array of such texts and of
/// {"path", "strength"}, and replaces the list; that of a picture is FILE, or a JSON object {"path", "sha256"}. Throws
/// Error: "--steps wants a whole number from 1 to 1000, got "0"".
void set_job_option(Job& job, const JobOption& option, const std::string& value);

/// The default as --help shows it: "model default" when the model decides, "" for none.
std::string default_text(const JobOption& option);

/// Sets every key of `object` (names and aliases; '-' and '_' are the same); a value may be a JSON string, number or
/// boolean. Throws Error naming `where` and the key.
void apply_json(Job& job, const nlohmann::json& object, const std::string& where);

/// The options that affect the pixels, by JSON key, without unset ones. apply_json() restores the same job.
nlohmann::ordered_json recipe_json(const Job& job);

/// True for an option whose default depends on the model.
bool is_model_default(const JobOption& option);

/// Sets every option that `job` leaves to the model to its value in `defaults`.
void fill_unset(Job& job, const Job& defaults);

}  // namespace tessera
