#include "metrics/protocol.h"

#include <array>

#include "core/error.h"
#include "metrics/resize.h"

namespace tessera {
namespace {

const std::array<Protocol, 3>& protocols() {
  static const std::array<Protocol, 3> all{{
      {"pytorch-fid", "bilinear", "centers aligned, no antialiasing (torch)", resize_bilinear_torch, 2.0 / 255, -1},
      {"torch-fidelity", "bilinear", "corners aligned, no antialiasing (TensorFlow 1)", resize_bilinear_tensorflow,
       1.0 / 128, -1},
      {"clean", "bicubic", "antialiased, not rounded (Pillow)", resize_bicubic_antialiased, 1.0 / 128, -1},
  }};
  return all;
}

}  // namespace

std::string Protocol::resize_words(int64_t side) const {
  const std::string size = std::to_string(side);
  return resize_kind + " " + size + "x" + size + ", " + resize_details;
}

const Protocol& find_protocol(const std::string& name) {
  for (const Protocol& protocol : protocols())
    if (protocol.name == name) return protocol;
  throw Error("--protocol: unknown value \"" + name + "\"" + suggestion(name, protocol_names()));
}

std::vector<std::string> protocol_names() {
  std::vector<std::string> names;
  for (const Protocol& protocol : protocols()) names.push_back(protocol.name);
  return names;
}

}  // namespace tessera
