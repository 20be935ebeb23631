#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// Everything that `check`, which throws Error at the first thing wrong with a job, would find wrong: whenever it
/// throws, the option that the error hangs on is left to the model, and the rest is checked again.
std::vector<std::string> all_refusals(Job job, const std::function<void(const Job&)>& check);

}  // namespace tessera
