#pragma once

#include <filesystem>
#include <string>

namespace tessera {

/// What a file of arrays holds of a set.
struct ArrayFile {
  bool statistics = false;    ///< mean and covariance: mu and sigma, or a pickle, which holds nothing else
  std::string pictures = {};  ///< the name of the array of pictures; empty: none
  std::string features = {};  ///< the name of the array of features; empty: none
};

/// Whether `path` is a file of arrays by its name: .npz, .npy, .pkl or .pickle.
bool is_array_file(const std::filesystem::path& path);
/// Whether it is a pickle by its name: .pkl or .pickle.
bool is_pickle(const std::filesystem::path& path);

/// Looks at the names and shapes of its arrays, not at their data. Pictures are arr_0 (ADM, DiT), images, samples or
/// data; features are feats (clean-fid, this program), features or reps (dgm-eval), or one of the former with two
/// dimensions; a file with features is not looked through for pictures. Throws Error when the file is damaged, two
/// arrays may be the pictures, or none is any of these.
ArrayFile look_into(const std::filesystem::path& path);

}  // namespace tessera
