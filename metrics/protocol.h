#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tessera {

/// How one published tool turns a picture into what the FID network sees. Numbers of different protocols must not be
/// compared. All of them decode as Pillow does (media/picture.h) and ignore EXIF orientation.
struct Protocol {
  std::string name;                                               ///< "pytorch-fid", "torch-fidelity", "clean"
  std::string resize_kind, resize_details;                        ///< see resize_words
  at::Tensor (*resize)(const at::Tensor& picture, int64_t side);  ///< see metrics/resize.h
  double scale, shift;                                            ///< the network sees pixels * scale + shift

  /// For reports: what resize does to pictures that become `side` high and wide.
  std::string resize_words(int64_t side) const;
};

/// The protocol called `name`. Throws Error with the nearest name when there is none.
const Protocol& find_protocol(const std::string& name);
std::vector<std::string> protocol_names();

}  // namespace tessera
