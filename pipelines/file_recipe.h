#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// What a file says about how it was made.
struct FileRecipe {
  Job job;                         ///< without an output
  std::string version;             ///< of the program that made it; "" when it was another program
  std::string model_fingerprint;   ///< see model_fingerprint; "" when the file has none
  std::vector<std::string> notes;  ///< for the user
};

/// Reads the recipe of a picture, a video or saved latents: the `tessera` text of a PNG or a JPEG (or its `parameters`
/// text, also that of other programs), the `comment` of a video, the header of a .safetensors file. A pattern such as
/// dir/frame_%04d.png stands for its first frame. Pixels are not read where the format allows, so a picture whose
/// pixels are damaged still gives its recipe. Throws Error: no such file, another format, a damaged one, no recipe, a
/// recipe with options that this program does not know. `lora_tags`: see job_from_parameters.
FileRecipe read_file_recipe(const std::filesystem::path& path, bool lora_tags = false);

/// Why `job` may not reproduce the bytes of the file that `recipe` is of: another version, another model.
std::vector<std::string> reproduction_notes(const FileRecipe& recipe, const Job& job);

}  // namespace tessera
