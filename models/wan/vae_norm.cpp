#include "models/wan/vae_norm.h"

#include "kernels/norm.h"

namespace tessera {

void ChannelNorm::params(ParamList& out, const std::string& prefix, int64_t channels, int64_t dims) {
  std::vector<int64_t> shape(static_cast<size_t>(dims), 1);
  shape[0] = channels;
  out.add_float(prefix + "gamma", gamma, shape, Init::ones());
}

at::Tensor ChannelNorm::operator()(const at::Tensor& x) const {
  return channel_norm(x, gamma.flatten(), /*silu=*/false);
}

at::Tensor ChannelNorm::silu(const at::Tensor& x) const {
  return channel_norm(x, gamma.flatten(), /*silu=*/true);
}

}  // namespace tessera
