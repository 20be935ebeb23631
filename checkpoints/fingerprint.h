#pragma once

#include <string>

#include "core/job.h"
#include "weights/model_dir.h"

namespace tessera {

/// Tells models apart at little cost: SHA-256 of the names and sizes of the visible files (see core/visible_files.h) of
/// the job's model and of its separate autoencoder, and of three pieces of 4 KiB of each. Where they lie does not
/// matter.
/// "" when there is no model at the job's path.
std::string model_fingerprint(const Job& job);

/// The same of one part: of its config and its weight files.
std::string component_fingerprint(const Component& part);

}  // namespace tessera
