#include "metrics/array_file.h"

#include <vector>

#include "core/error.h"
#include "media/file_types.h"
#include "weights/npz.h"

namespace tessera {
namespace {

constexpr const char* kPictureNames[] = {"arr_0", "images", "samples", "data"};
constexpr const char* kFeatureNames[] = {"feats", "features", "reps"};

}  // namespace

bool is_pickle(const std::filesystem::path& path) {
  const std::string extension = lower_extension(path);
  return extension == ".pkl" || extension == ".pickle";
}

bool is_array_file(const std::filesystem::path& path) {
  const std::string extension = lower_extension(path);
  std::error_code ignored;
  return (extension == ".npz" || extension == ".npy" || is_pickle(path)) &&
         std::filesystem::is_regular_file(path, ignored);
}

ArrayFile look_into(const std::filesystem::path& path) {
  if (is_pickle(path)) return {.statistics = true};
  const NpzFile file(path);
  ArrayFile held{.statistics = file.has("mu") && file.has("sigma")};
  for (const char* name : kFeatureNames)
    if (held.features.empty() && file.has(name)) held.features = name;
  std::vector<std::string> four, other;  // candidates by dimensions
  for (const char* name : kPictureNames) {
    if (!file.has(name)) continue;
    const NpyHeader header = file.header(name);
    const size_t dims = header.shape.size();
    if (dims == 2 && header.descr[1] == 'f' && held.features.empty())
      held.features = name;
    else
      (dims == 4 ? four : other).push_back(name);
  }
  if (!held.features.empty()) return held;
  if (four.size() > 1)
    throw Error(file.where() + ": its arrays \"" + four[0] + "\" and \"" + four[1] +
                "\" may both be pictures; keep only one of them in the file");
  if (!four.empty())
    held.pictures = four[0];
  else if (!held.statistics && !other.empty())
    held.pictures = other[0];  // reading it says what is wrong with it
  else if (!held.statistics)
    throw Error(file.where() + ": want statistics (mu and sigma), pictures (arr_0, images, samples or data) or " +
                "features (feats, features or reps), found " + file.listing());
  return held;
}

}  // namespace tessera
