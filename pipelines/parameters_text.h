#pragma once

#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// The job that a picture's `parameters` text asks for: recipe_text's own (pipelines/recipe.h), AUTOMATIC1111's and
/// stable-diffusion.cpp's. What is known is mapped; names of models and versions become `notes`. Throws Error naming
/// `where` and everything in the text that this program would have to ignore (hires passes, LoRAs, ...), and when the
/// text has no line of settings.
Job job_from_parameters(const std::string& text, const std::string& where, std::vector<std::string>& notes);

}  // namespace tessera
