#pragma once

#include <string>

#include "core/job.h"

namespace tessera {

/// The output of index `i` of a resolved job: the file's name with _i before its extension when there are several.
std::string output_name(const Job& job, int64_t i);

/// Gives a job without a seed a random one. Throws Error when the seeds of its outputs go beyond the largest.
void settle_seed(Job& job);

/// The recipe of a resolved single output as JSON: recipe_json, the program, its version and the model's fingerprint
/// (checkpoints/fingerprint.h).
nlohmann::ordered_json output_recipe(const Job& job);

/// The same for people and their viewers, in the layout of AUTOMATIC1111's `parameters` text.
std::string recipe_text(const Job& job);

}  // namespace tessera
