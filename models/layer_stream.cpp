#include "models/layer_stream.h"

#include <ATen/ATen.h>

#include "kernels/packed.h"

namespace tessera {
namespace {

c10::impl::VirtualGuardImpl guard_of(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type());
}

}  // namespace

LayerStream::LayerStream(std::vector<ParamList> layers, at::ScalarType dtype, at::Device device)
    : device_(device), copies_(guard_of(device).getStreamFromGlobalPool(device)) {
  for (ParamList& params : layers) {
    Layer layer;
    for (const Param& param : params) {
      const at::Tensor weight = unpacked(*param.slot, param.keep_float ? at::kFloat : dtype);
      layer.pinned.push_back(weight.contiguous().pin_memory());
      *param.slot = at::Tensor();
    }
    layer.params = std::move(params);
    layers_.push_back(std::move(layer));
  }
}

void LayerStream::enter(size_t index) {
  Layer& layer = layers_.at(index);
  if (layer.there.empty()) fetch(layer);
  layer.arrived->block(guard_of(device_).getStream(device_));
  size_t next = 0;
  for (const Param& param : layer.params) *param.slot = layer.there[next++];
  Layer& behind = layers_[(index + 1) % layers_.size()];
  if (behind.there.empty()) fetch(behind);
}

void LayerStream::leave(size_t index) {
  Layer& layer = layers_.at(index);
  for (const Param& param : layer.params) *param.slot = at::Tensor();
  layer.there.clear();
}

void LayerStream::fetch(Layer& layer) {
  const auto guard = guard_of(device_);
  const c10::Stream main = guard.getStream(device_);
  // Memory is the main stream's: what it held before is read by work that is queued there already.
  for (const at::Tensor& weight : layer.pinned) layer.there.push_back(at::empty_like(weight, at::device(device_)));
  c10::Event room(device_.type());
  room.record(main);
  room.block(copies_);
  guard.exchangeStream(copies_);
  for (size_t i = 0; i < layer.pinned.size(); ++i) layer.there[i].copy_(layer.pinned[i], /*non_blocking=*/true);
  guard.exchangeStream(main);
  layer.arrived.emplace(device_.type());
  layer.arrived->record(copies_);
}

}  // namespace tessera
