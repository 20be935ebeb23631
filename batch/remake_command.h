#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tessera {

/// Text as one word of a command line of bash or zsh: as it is when it is plain, in single quotes, or in $'...' with
/// escapes where it holds control characters, so that pasting it can neither run nor steer anything.
std::string shell_quoted(const std::string& text);

/// The line that makes an output again: "tessera generate 'a cat' --seed 7 ... -o cat.mp4". `recipe` is recipe_json of
/// a completed job (core/job.h); what the program assumes anyway is left out.
std::string remake_command(const nlohmann::json& recipe, const std::string& output);

}  // namespace tessera
