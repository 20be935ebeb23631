#pragma once

#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// The job that a picture's `parameters` text asks for: recipe_text's own (pipelines/recipe.h), AUTOMATIC1111's and
/// stable-diffusion.cpp's. What is known is mapped; names of models and versions become `notes`. Throws Error naming
/// `where` and everything in the text that this program would have to ignore (hires passes, LoRAs, ...), and when the
/// text has no line of settings. With `lora_tags`, <lora:...> stays in the prompt, for take_lora_tags
/// (pipelines/lora_tags.h).
Job job_from_parameters(const std::string& text, const std::string& where, std::vector<std::string>& notes,
                        bool lora_tags = false);

}  // namespace tessera
