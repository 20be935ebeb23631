#include "checkpoints/model_layout.h"

#include "checkpoints/dit/layout.h"
#include "checkpoints/wan/layouts.h"
#include "core/error.h"

namespace tessera {

void ModelLayout::require_complete(const std::string& advice) const {
  if (missing.empty()) return;
  std::string text = model.path.string() + " is not complete: ";
  for (size_t i = 0; i < missing.size(); ++i) text += (i ? "; " : "") + missing[i];
  throw Error(text + advice);
}

ModelLayout recognize_layout(const std::filesystem::path& path) {
  if (auto dit = recognize_dit_layout(path)) return *std::move(dit);
  if (auto wan = recognize_wan_layout(path)) return *std::move(wan);
  return {"diffusers", open_model_dir(path), {}};
}

}  // namespace tessera
