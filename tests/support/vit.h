#pragma once

#include "models/vit/vit.h"
#include "tests/support/fixture.h"
#include "weights/vit_names.h"

namespace tessera::test {

/// What the references of classifiers call the same settings.
struct VitKeys {
  const char *patch, *channels, *heads;
};

/// The settings that every kind of classifier has, from its reference's own; the rest is the caller's.
inline VitConfig vit_config(const nlohmann::json& model, const VitKeys& keys) {
  VitConfig config;
  config.patch = model.at(keys.patch);
  config.channels = model.at(keys.channels);
  config.heads = model.at(keys.heads);
  config.depth = model.at("depth");
  config.classes = model.at("num_classes");
  config.hidden = static_cast<int64_t>(model.at("mlp_ratio").get<double>() * static_cast<double>(config.channels));
  config.image = model.at("image");
  return config;
}

}  // namespace tessera::test
