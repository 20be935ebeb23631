#include "checkpoints/model_layout.h"

#include "core/error.h"
#include "core/job.h"
#include "core/text.h"

namespace tessera {

ModelOptions model_options(const Job& job) {
  return {.vae = job.vae.value_or(""), .block_size = job.block_size};
}

void ModelLayout::require_complete(const std::string& advice) const {
  if (missing.empty()) return;
  throw Error(model.path.string() + " is not complete: " + joined(missing, "; ") + advice);
}

}  // namespace tessera
