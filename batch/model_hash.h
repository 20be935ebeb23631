#pragma once

#include <string>

#include "core/ranks.h"
#include "weights/model_dir.h"

namespace tessera {

/// What tells one model from another, wherever it lies.
struct ModelHash {
  /// SHA-256 of every visible file of the model's folder (see core/visible_files.h) with its name and size, or of a
  /// model in one file. It also covers the files of parts that lie elsewhere (`--vae`, a release beside a checkpoint)
  /// and the configs that the program derived, because what they were derived from may lie in a folder above.
  std::string hash;
  /// Of the same files' paths, sizes and times of change: while it stays the same on this machine, so does `hash`.
  std::string stamp;
};

/// Reads every file of the model, unless `variables` hold the hash that another process of this machine passed on
/// (see pass_on) and no file has changed since. Throws Error when a file cannot be read.
ModelHash hash_model(const ModelDir& model, const Variables& variables);

/// The environment variable by which a process tells those that it starts its model's hash.
Variables pass_on(const ModelHash& model);

}  // namespace tessera
