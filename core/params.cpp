#include "core/params.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "core/error.h"

namespace tessera {

void ParamList::add(std::string name, at::Tensor& slot, std::vector<int64_t> shape, Init init) {
  params_.push_back({std::move(name), &slot, std::move(shape), std::move(init)});
}

void ParamList::add_float(std::string name, at::Tensor& slot, std::vector<int64_t> shape, Init init) {
  params_.push_back({std::move(name), &slot, std::move(shape), std::move(init), true});
}

std::vector<std::string> ParamList::names() const {
  std::vector<std::string> out;
  for (const auto& param : params_) out.push_back(param.name);
  return out;
}

int64_t ParamList::count() const {
  int64_t total = 0;
  for (const auto& param : params_) total += c10::multiply_integers(param.shape);
  return total;
}

void initialize(const ParamList& params, uint64_t seed, at::Device device) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto options = at::TensorOptions().dtype(at::kFloat);
  for (const auto& [name, slot, shape, init, keep_float, packable, takes_int8, low_rank] : params) {
    at::Tensor value;
    switch (init.kind) {
      case Init::Kind::kZeros:
        value = at::zeros(shape, options);
        break;
      case Init::Kind::kOnes:
        value = at::ones(shape, options);
        break;
      case Init::Kind::kNormal:
        value = at::randn(shape, generator, options).mul_(init.scale);
        break;
      case Init::Kind::kUniform:
        value = at::rand(shape, generator, options).mul_(2 * init.scale).sub_(init.scale);
        break;
      case Init::Kind::kValue:
        value = init.value();
        break;
    }
    TORCH_CHECK(value.sizes() == at::IntArrayRef(shape), "initial value of ", name, " is ", value.sizes(), ", want ",
                at::IntArrayRef(shape));
    if (init.adjust) init.adjust(value);
    *slot = value.to(device);
  }
}

void make_meta(const ParamList& params, at::ScalarType dtype) {
  for (const auto& param : params)
    *param.slot =
        at::empty(param.shape, at::TensorOptions().dtype(param.keep_float ? at::kFloat : dtype).device(at::kMeta));
}

}  // namespace tessera
