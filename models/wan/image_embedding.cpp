#include "models/wan/image_embedding.h"

#include <ATen/ATen.h>

namespace tessera {

WanImageEmbedding::WanImageEmbedding() {
  norm1.eps = norm2.eps = 1e-5;
}

void WanImageEmbedding::params(ParamList& list, const std::string& prefix, int64_t in_channels, int64_t channels,
                               int64_t positions) {
  if (positions > 0) list.add_float(prefix + "pos_embed", pos_embed, {1, positions, in_channels}, Init::zeros());
  norm1.params(list, prefix + "norm1.", in_channels);
  in.params(list, prefix + "ff.net.0.proj.", in_channels, in_channels, true, xavier(in_channels, in_channels));
  out.params(list, prefix + "ff.net.2.", in_channels, channels, true, xavier(in_channels, channels));
  norm2.params(list, prefix + "norm2.", channels);
}

at::Tensor WanImageEmbedding::operator()(const at::Tensor& states) const {
  TORCH_CHECK(!pos_embed.defined() || states.size(1) == pos_embed.size(1), "WanImageEmbedding: want ",
              pos_embed.size(1), " states, got ", states.sizes());
  const at::Tensor placed = pos_embed.defined() ? states + pos_embed.to(states.scalar_type()) : states;
  return norm2(out(at::gelu(in(norm1(placed)))));
}

}  // namespace tessera
