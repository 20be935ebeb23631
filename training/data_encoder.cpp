#include "training/data_encoder.h"

#include "core/error.h"
#include "training/dit_data_encoder.h"
#include "training/wan_data_encoder.h"

namespace tessera {

void EncodedBy::check(const DataCache& cache, const std::string& where) const {
  const auto compare = [&](const char* part, const std::string& own, const std::string& of_cache) {
    if (own != of_cache)
      throw Error(cache.folder.string() + ": was encoded by another " + part + " than that of " + where +
                  "; run tessera train prepare with this model");
  };
  compare("vae", vae, cache.vae);
  compare("text_encoder", text_encoder, cache.text_encoder);
}

std::unique_ptr<DataEncoder> open_data_encoder(const std::filesystem::path& model, const std::string& dtype,
                                               at::Device device) {
  if (recognize_dit_layout(model)) return std::make_unique<DitDataEncoder>(model, device);
  return std::make_unique<WanDataEncoder>(model, dtype, device);
}

}  // namespace tessera
