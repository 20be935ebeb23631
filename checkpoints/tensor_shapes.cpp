#include "checkpoints/tensor_shapes.h"

#include <cmath>

#include "core/error.h"

namespace tessera {

at::IntArrayRef shape_of(const TensorFile& file, const std::string& name, int64_t dims) {
  const at::Tensor& tensor = file.at(name);
  if (tensor.dim() != dims || tensor.numel() == 0)
    throw Error(
        c10::str(file.where(), ": ", name, " must have ", dims, " dimensions, none of them 0, got ", tensor.sizes()));
  return tensor.sizes();
}

int64_t exact_root(int64_t square, const std::string& what) {
  const int64_t root = std::llround(std::sqrt(static_cast<double>(square)));
  if (root * root != square) throw Error(what + " must be the square of a whole number, got " + std::to_string(square));
  return root;
}

}  // namespace tessera
