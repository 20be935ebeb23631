#include "models/inception/graph.h"

#include "core/error.h"

namespace tessera {
namespace {

struct Layer {
  const char* name;
  int64_t out, rows = 1, columns = 1, stride = 1;

  // Strided layers take no padding, all others keep the size.
  int64_t pad_rows() const { return stride == 1 ? rows / 2 : 0; }
  int64_t pad_columns() const { return stride == 1 ? columns / 2 : 0; }
};

class Builder {
 public:
  explicit Builder(InceptionGraph& graph) : graph_(graph) {}

  size_t buffer(int64_t channels, int64_t height, int64_t width) {
    graph_.buffers.push_back({channels, height, width});
    return graph_.buffers.size() - 1;
  }

  /// A block on `from` whose outputs stand side by side; `halves` when it halves the size.
  void begin(const std::string& block, size_t from, int64_t channels, bool halves = false) {
    const InceptionBuffer& in = graph_.buffers[from];
    block_ = block;
    from_ = from;
    channel_ = 0;
    to_ = buffer(channels, halves ? (in.height - 3) / 2 + 1 : in.height, halves ? (in.width - 3) / 2 + 1 : in.width);
  }

  /// One convolution after another; the last writes the next channels of the block.
  void branch(const std::vector<Layer>& layers) {
    size_t from = from_;
    for (size_t i = 0; i + 1 < layers.size(); ++i) from = hidden(from, layers[i]);
    output(from, layers.back());
  }

  /// A hidden convolution of this block; returns its buffer.
  size_t hidden(size_t from, const Layer& layer) {
    const InceptionBuffer in = graph_.buffers[from];
    const size_t to = buffer(layer.out, in.height, in.width);
    conv(InceptionStep::Kind::kConv, block_ + "." + layer.name, from, to, 0, layer);
    return to;
  }

  void output(size_t from, const Layer& layer) {
    conv(InceptionStep::Kind::kConv, block_ + "." + layer.name, from, to_, channel_, layer);
    channel_ += layer.out;
  }

  void average_branch(int64_t out) {
    const Layer layer{"branch_pool", out};
    conv(InceptionStep::Kind::kAverageConv, block_ + ".branch_pool", from_, to_, channel_, layer);
    channel_ += out;
  }

  void max_branch() {
    max_pool(from_, to_, channel_, 2, 0);
    channel_ += graph_.buffers[from_].channels;
  }

  /// A layer before the blocks, without padding unless `padded`.
  size_t stem(size_t from, const Layer& layer, bool padded = false) {
    const InceptionBuffer in = graph_.buffers[from];
    const int64_t shrink = padded ? 0 : layer.rows - 1;
    const size_t to =
        buffer(layer.out, (in.height - shrink - 1) / layer.stride + 1, (in.width - shrink - 1) / layer.stride + 1);
    conv(InceptionStep::Kind::kConv, layer.name, from, to, 0, layer);
    if (!padded) graph_.convs.back().pad_rows = graph_.convs.back().pad_columns = 0;
    return to;
  }

  size_t stem_pool(size_t from) {
    const InceptionBuffer in = graph_.buffers[from];
    const size_t to = buffer(in.channels, (in.height - 3) / 2 + 1, (in.width - 3) / 2 + 1);
    max_pool(from, to, 0, 2, 0);
    return to;
  }

  void max_pool(size_t from, size_t to, int64_t channel, int64_t stride, int64_t pad) {
    graph_.steps.push_back({InceptionStep::Kind::kMaxPool, from, to, channel, 0, stride, pad});
  }

  void tap(size_t buffer) { graph_.taps.push_back({graph_.buffers[buffer].channels, buffer, graph_.steps.size()}); }

  size_t from() const { return from_; }
  size_t to() const { return to_; }

 private:
  void conv(InceptionStep::Kind kind, const std::string& name, size_t from, size_t to, int64_t channel,
            const Layer& layer) {
    graph_.convs.push_back({name, graph_.buffers[from].channels, layer.out, layer.rows, layer.columns, layer.stride,
                            layer.pad_rows(), layer.pad_columns()});
    graph_.steps.push_back({kind, from, to, channel, graph_.convs.size() - 1});
  }

  InceptionGraph& graph_;
  std::string block_;
  size_t from_ = 0, to_ = 0;
  int64_t channel_ = 0;
};

size_t block_5(Builder& build, const char* name, size_t from, int64_t pooled) {
  build.begin(name, from, 224 + pooled);
  build.branch({{"branch1x1", 64}});
  build.branch({{"branch5x5_1", 48}, {"branch5x5_2", 64, 5, 5}});
  build.branch({{"branch3x3dbl_1", 64}, {"branch3x3dbl_2", 96, 3, 3}, {"branch3x3dbl_3", 96, 3, 3}});
  build.average_branch(pooled);
  return build.to();
}

size_t block_6a(Builder& build, size_t from) {
  build.begin("Mixed_6a", from, 768, true);
  build.branch({{"branch3x3", 384, 3, 3, 2}});
  build.branch({{"branch3x3dbl_1", 64}, {"branch3x3dbl_2", 96, 3, 3}, {"branch3x3dbl_3", 96, 3, 3, 2}});
  build.max_branch();
  return build.to();
}

size_t block_6(Builder& build, const char* name, size_t from, int64_t width) {
  build.begin(name, from, 768);
  build.branch({{"branch1x1", 192}});
  build.branch({{"branch7x7_1", width}, {"branch7x7_2", width, 1, 7}, {"branch7x7_3", 192, 7, 1}});
  build.branch({{"branch7x7dbl_1", width},
                {"branch7x7dbl_2", width, 7, 1},
                {"branch7x7dbl_3", width, 1, 7},
                {"branch7x7dbl_4", width, 7, 1},
                {"branch7x7dbl_5", 192, 1, 7}});
  build.average_branch(192);
  return build.to();
}

size_t block_7a(Builder& build, size_t from) {
  build.begin("Mixed_7a", from, 1280, true);
  build.branch({{"branch3x3_1", 192}, {"branch3x3_2", 320, 3, 3, 2}});
  build.branch({{"branch7x7x3_1", 192},
                {"branch7x7x3_2", 192, 1, 7},
                {"branch7x7x3_3", 192, 7, 1},
                {"branch7x7x3_4", 192, 3, 3, 2}});
  build.max_branch();
  return build.to();
}

size_t block_7(Builder& build, const char* name, size_t from, bool max_pooled) {
  build.begin(name, from, 2048);
  build.branch({{"branch1x1", 320}});
  const size_t narrow = build.hidden(from, {"branch3x3_1", 384});
  build.output(narrow, {"branch3x3_2a", 384, 1, 3});
  build.output(narrow, {"branch3x3_2b", 384, 3, 1});
  const size_t wide = build.hidden(build.hidden(from, {"branch3x3dbl_1", 448}), {"branch3x3dbl_2", 384, 3, 3});
  build.output(wide, {"branch3x3dbl_3a", 384, 1, 3});
  build.output(wide, {"branch3x3dbl_3b", 384, 3, 1});
  if (!max_pooled) {
    build.average_branch(192);
    return build.to();
  }
  const size_t pooled = build.buffer(2048, 8, 8);
  build.max_pool(from, pooled, 0, 1, 1);
  build.output(pooled, {"branch_pool", 192});
  return build.to();
}

InceptionGraph make_graph() {
  InceptionGraph graph;
  Builder build(graph);
  size_t at = build.buffer(3, kInceptionSide, kInceptionSide);
  at = build.stem(at, {"Conv2d_1a_3x3", 32, 3, 3, 2});     // 149
  at = build.stem(at, {"Conv2d_2a_3x3", 32, 3, 3});        // 147
  at = build.stem(at, {"Conv2d_2b_3x3", 64, 3, 3}, true);  // 147
  at = build.stem_pool(at);                                // 73
  build.tap(at);
  at = build.stem(at, {"Conv2d_3b_1x1", 80});
  at = build.stem(at, {"Conv2d_4a_3x3", 192, 3, 3});  // 71
  at = build.stem_pool(at);                           // 35
  build.tap(at);
  at = block_5(build, "Mixed_5b", at, 32);
  at = block_5(build, "Mixed_5c", at, 64);
  at = block_5(build, "Mixed_5d", at, 64);
  at = block_6a(build, at);  // 17
  at = block_6(build, "Mixed_6b", at, 128);
  at = block_6(build, "Mixed_6c", at, 160);
  at = block_6(build, "Mixed_6d", at, 160);
  at = block_6(build, "Mixed_6e", at, 192);
  build.tap(at);
  at = block_7a(build, at);  // 8
  at = block_7(build, "Mixed_7b", at, false);
  at = block_7(build, "Mixed_7c", at, true);
  build.tap(at);
  return graph;
}

}  // namespace

const InceptionTap& InceptionGraph::tap(int64_t dims) const {
  for (const InceptionTap& candidate : taps)
    if (candidate.dims == dims) return candidate;
  throw Error("the FID Inception has no features of length " + std::to_string(dims) +
              "; --dims is 64, 192, 768 or 2048 (the standard)");
}

const InceptionGraph& inception_graph() {
  static const InceptionGraph graph = make_graph();
  return graph;
}

}  // namespace tessera
