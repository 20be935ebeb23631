#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/progress.h"

namespace tessera {

/// What `tessera decode` is asked to do.
struct DecodeRequest {
  std::string latents;                          ///< a file that generate or batch kept: its header holds the recipe
  std::string output;                           ///< as Job::output
  std::string model;                            ///< "" is the recipe's
  std::string dtype = "auto", device = "auto";  ///< dtype auto is the recipe's
  std::string vae_tile;                         ///< as Job::vae_tile; "" is the recipe's
};

/// Turns kept latents into frames without sampling again. Returns the files written. Throws Error: no recipe in the
/// file, latents that are not those of the recipe, an output that does not hold the frames (2), bad pixels (4), a
/// failed write (1), a stop by signal (130 or 143).
std::vector<std::string> decode_file(const DecodeRequest& request, ProgressStyle progress,
                                     const std::function<void(const std::string&)>& note);

}  // namespace tessera
