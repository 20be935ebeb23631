#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "core/params.h"
#include "weights/bind.h"
#include "weights/safetensors.h"

namespace tessera::test {

/// What a published file holds, from tests/data/keys: lines "NAME SHAPE", where blocks.{0-2,4}.x stands for the names
/// of blocks 0, 1, 2 and 4; comments begin with #, and "# dtype BF16" says how the numbers are stored.
class KeyList {
 public:
  explicit KeyList(const std::string& name)
      : path_(std::string(TESSERA_SOURCE_DIR) + "/tests/data/keys/" + name + ".txt") {
    std::ifstream in(path_);
    if (!in) throw std::runtime_error("cannot read " + path_);
    for (std::string line; std::getline(in, line);) read(line);
  }

  /// The tensors without their data, on the meta device.
  TensorFile file() const { return {tensors_, path_}; }
  int64_t tensors() const { return tensors_said_; }  ///< as the list's head says
  int64_t numbers() const { return numbers_said_; }

 private:
  void read(const std::string& line) {
    std::istringstream words(line);
    std::string first, second, third;
    words >> first >> second >> third;
    if (first == "#") {
      if (second == "dtype") dtype_ = third == "BF16" ? at::kBFloat16 : at::kFloat;
      if (second == "tensors") tensors_said_ = std::stoll(third);
      if (second == "numbers") numbers_said_ = std::stoll(third);
      return;
    }
    const size_t open = first.find('{'), close = first.find('}');
    if (open == std::string::npos) return add(first, second);
    std::istringstream ranges(first.substr(open + 1, close - open - 1));
    for (std::string range; std::getline(ranges, range, ',');) {
      const size_t dash = range.find('-');
      const int64_t begin = std::stoll(range),
                    end = dash == std::string::npos ? begin : std::stoll(range.substr(dash + 1));
      for (int64_t i = begin; i <= end; ++i)
        add(first.substr(0, open) + std::to_string(i) + first.substr(close + 1), second);
    }
  }

  void add(const std::string& name, const std::string& shape) {
    std::vector<int64_t> sizes;
    std::istringstream axes(shape);
    for (std::string axis; std::getline(axes, axis, 'x');) sizes.push_back(std::stoll(axis));
    tensors_[name] = at::empty(sizes, at::TensorOptions(dtype_).device(at::kMeta));
  }

  std::string path_;
  std::map<std::string, at::Tensor> tensors_;
  at::ScalarType dtype_ = at::kFloat;
  int64_t tensors_said_ = 0, numbers_said_ = 0;
};

/// Numbers in all tensors of a file.
inline int64_t count_numbers(const TensorFile& file) {
  int64_t numbers = 0;
  for (const auto& [name, tensor] : file.tensors()) numbers += tensor.numel();
  return numbers;
}

/// Binds a list under our names to the model that its shapes describe: every name used, every parameter found.
template <class Part, class Config>
void expect_binds(const TensorFile& ours, const Config& config) {
  Part part(config);
  ParamList params;
  part.params(params);
  ASSERT_NO_THROW(bind(params, ours, at::kBFloat16, at::kMeta)) << ours.where();
  EXPECT_EQ(params.size(), ours.tensors().size());
  EXPECT_EQ(params.count(), count_numbers(ours));
}

/// The list's tensors, which are as many as its head says.
inline TensorFile checked(const KeyList& keys) {
  const TensorFile file = keys.file();
  EXPECT_EQ(static_cast<int64_t>(file.tensors().size()), keys.tensors());
  EXPECT_EQ(count_numbers(file), keys.numbers());
  return file;
}

}  // namespace tessera::test
