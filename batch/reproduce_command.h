#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tessera {

/// Text as one word of a command line of bash or zsh: as it is when it is plain, in single quotes, or in $'...' with
/// escapes where it holds control characters, so that pasting it neither runs anything nor controls the terminal.
std::string shell_quoted(const std::string& text);

/// The shell command that reproduces an output: "tessera generate 'a cat' --seed 7 ... -o cat.mp4". `recipe` is
/// recipe_json of a completed job (core/job.h); settings at their defaults are left out.
std::string reproduce_command(const nlohmann::json& recipe, const std::string& output);

}  // namespace tessera
