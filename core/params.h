#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace tessera {

/// How a freshly made parameter is filled before training.
struct Init {
  enum class Kind { kZeros, kOnes, kNormal, kUniform, kValue };
  Kind kind = Kind::kNormal;
  double scale = 0.02;                        ///< standard deviation (normal) or bound (uniform)
  std::function<at::Tensor()> value{};        ///< kValue: a float32 tensor of the parameter's shape
  std::function<void(at::Tensor&)> adjust{};  ///< applied to the drawn float32 tensor, e.g. to zero a part of it

  static Init zeros() { return {.kind = Kind::kZeros}; }
  static Init ones() { return {.kind = Kind::kOnes}; }
  static Init normal(double deviation) { return {.kind = Kind::kNormal, .scale = deviation}; }
  static Init uniform(double bound) { return {.kind = Kind::kUniform, .scale = bound}; }
  static Init of(std::function<at::Tensor()> make) { return {.kind = Kind::kValue, .value = std::move(make)}; }
};

/// Two thin matrices whose product is added to a matrix of weights where it is used: a LoRA while it is trained.
/// Source: arXiv:2106.09685.
struct LoraPair {
  at::Tensor down = {};  ///< [rank, in] float32; undefined: nothing is added
  at::Tensor up = {};    ///< [out, rank] float32
  double scale = 1;      ///< of the product
};

/// One named weight of a model. `slot` points into the model; weights/bind or initialize() fills it.
struct Param {
  std::string name;            ///< the checkpoint's name, e.g. "blocks.0.attn1.to_q.weight"
  at::Tensor* slot;            ///< never null; the model outlives it
  std::vector<int64_t> shape;  ///< exact
  Init init;
  bool keep_float = false;  ///< stays float32 whatever the compute dtype (norms, modulation, mixing)
  bool packable = false;    ///< the network takes it packed too: a matrix that is multiplied, or a table of rows
  bool takes_int8 = false;  ///< `--dtype int8` multiplies it in int8: a matrix of the blocks, none of the embeddings
  LoraPair* low_rank = nullptr;  ///< where the network adds a product to it; null where it cannot
};

/// The one list of a model's weights: loading, saving, initializing, optimizing and counting all read it.
class ParamList {
 public:
  void add(std::string name, at::Tensor& slot, std::vector<int64_t> shape, Init init = {});
  /// Like add, for a weight that stays float32 whatever the compute dtype.
  void add_float(std::string name, at::Tensor& slot, std::vector<int64_t> shape, Init init = {});
  /// What the parameter added last is: a matrix that may stay packed (kernels/packed.h).
  void last_is_packable() { params_.back().packable = true; }
  /// The same, and `--dtype int8` quantizes it (kernels/linear.h).
  void last_takes_int8() { params_.back().packable = params_.back().takes_int8 = true; }
  /// Where the network adds a product of thin matrices to the parameter added last.
  void last_takes(LoraPair& added) { params_.back().low_rank = &added; }

  auto begin() const { return params_.begin(); }
  auto end() const { return params_.end(); }
  size_t size() const { return params_.size(); }
  std::vector<std::string> names() const;
  /// Number of scalars in all parameters.
  int64_t count() const;

 private:
  std::vector<Param> params_;
};

/// Fills every slot with a new float32 tensor on `device` drawn by its Init; the same seed gives the same weights.
void initialize(const ParamList& params, uint64_t seed, at::Device device);

/// Fills every slot with an empty meta tensor of `dtype` (float32 where keep_float): shapes without storage, for tests
/// and counting.
void make_meta(const ParamList& params, at::ScalarType dtype);

}  // namespace tessera
