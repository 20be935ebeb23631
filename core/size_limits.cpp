#include "core/size_limits.h"

#include <algorithm>
#include <fstream>

namespace tessera {
namespace {

std::string between(int64_t most) {
  return "between 1 and " + std::to_string(most);
}

}  // namespace

int64_t read_size(const JsonConfig& json, const std::string& key, int64_t most) {
  const int64_t value = json.integer(key);
  if (value < 1 || value > most) json.fail(key, "must lie " + between(most));
  return value;
}

int64_t read_size(const JsonConfig& json, const std::string& key, int64_t most, int64_t fallback) {
  return json.has(key) ? read_size(json, key, most) : fallback;
}

std::vector<int64_t> read_sizes(const JsonConfig& json, const std::string& key, int64_t most, int64_t most_items,
                                std::vector<int64_t> fallback) {
  const std::vector<int64_t> values = json.integers(key, std::move(fallback));
  const bool good = std::all_of(values.begin(), values.end(), [most](int64_t v) { return v >= 1 && v <= most; });
  if (values.empty() || static_cast<int64_t>(values.size()) > most_items || !good)
    json.fail(key, "must hold 1 to " + std::to_string(most_items) + " whole numbers " + between(most));
  return values;
}

std::string read_small_file(const std::filesystem::path& path, uint64_t most, const std::string& wanted) {
  std::error_code problem;
  const uint64_t size = std::filesystem::file_size(path, problem);
  if (!problem && size > most)
    throw Error(path.string() + " has " + std::to_string(size) + " bytes: " + wanted + " has at most " +
                std::to_string(most));
  std::ifstream in(path, std::ios::binary);
  if (problem || !in) throw Error("cannot read " + path.string() + ": no such file or no permission");
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

}  // namespace tessera
