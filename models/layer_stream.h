#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <memory>
#include <optional>
#include <vector>

#include "core/params.h"

namespace tessera {

/// The weights of a network's layers in pinned host memory, for a GPU that cannot hold them: a layer's are on the
/// device from enter() to leave(), and those of the next one are copied by another stream meanwhile.
class LayerStream {
 public:
  /// Takes the weights out of the slots, which lie on the CPU; packed ones are unpacked to `dtype`.
  LayerStream(std::vector<ParamList> layers, at::ScalarType dtype, at::Device device);

  /// Fills the layer's slots, and starts to copy the layer behind it (the first one behind the last).
  void enter(size_t layer);
  /// Empties them.
  void leave(size_t layer);

 private:
  struct Layer {
    ParamList params;
    std::vector<at::Tensor> pinned, there;  // there: on the device, empty outside of its turn
    std::optional<c10::Event> arrived;
  };

  void fetch(Layer& layer);

  at::Device device_;
  c10::Stream copies_;
  std::vector<Layer> layers_;
};

/// A layer's turn: from here to the end of the scope its weights are in their slots. Nothing without a stream.
class LayerTurn {
 public:
  LayerTurn(LayerStream* stream, size_t layer) : stream_(stream), layer_(layer) {
    if (stream_) stream_->enter(layer_);
  }
  ~LayerTurn() {
    if (stream_) stream_->leave(layer_);
  }
  LayerTurn(const LayerTurn&) = delete;
  LayerTurn& operator=(const LayerTurn&) = delete;

 private:
  LayerStream* stream_;
  size_t layer_;
};

}  // namespace tessera
