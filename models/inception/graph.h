#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tessera {

/// A convolution without bias, followed by batch normalization (eps 1e-3) and ReLU.
struct InceptionConv {
  std::string name;  ///< the checkpoint's, e.g. "Mixed_5b.branch1x1"
  int64_t in = 0, out = 0, rows = 1, columns = 1, stride = 1, pad_rows = 0, pad_columns = 0;
};

/// A picture of features that steps write (several steps write channels of one: that is a block's concatenation).
struct InceptionBuffer {
  int64_t channels, height, width;
};

/// One thing to do: read buffer `from`, write the channels of buffer `to` from `to_channel` on.
struct InceptionStep {
  enum class Kind {
    kConv,         ///< convolution `conv`, ReLU
    kAverageConv,  ///< mean of 3x3 windows without the padding, then 1x1 convolution `conv`, ReLU
    kMaxPool       ///< largest of 3x3 windows, `stride`, `pad`
  };
  Kind kind;
  size_t from, to;
  int64_t to_channel = 0;
  size_t conv = 0;
  int64_t stride = 1, pad = 0;
};

/// Where features of length `dims` are read: the mean over `buffer`, once the first `steps` steps are done.
struct InceptionTap {
  int64_t dims;
  size_t buffer, steps;
};

/// The Inception v3 of the Frechet inception distance (TensorFlow's of 2015-12-05, as pytorch-fid and torch-fidelity
/// define it), on pictures of 299x299, as a list of steps that every executor follows. It differs from torchvision's:
/// average pools leave the padding out, the last block pools by maximum, the classes are 1008.
/// Source: Szegedy et al., arXiv 1512.00567; Heusel et al., arXiv 1706.08500.
struct InceptionGraph {
  std::vector<InceptionConv> convs;
  std::vector<InceptionBuffer> buffers;  ///< the first is the picture, 3 channels
  std::vector<InceptionStep> steps;
  std::vector<InceptionTap> taps;  ///< 64, 192, 768, 2048

  /// Throws Error naming the four lengths when `dims` is none of them.
  const InceptionTap& tap(int64_t dims) const;
};

/// Height and width of the network's pictures.
constexpr int64_t kInceptionSide = 299;
constexpr int64_t kInceptionClasses = 1008;
constexpr double kInceptionNormEps = 1e-3;

const InceptionGraph& inception_graph();

}  // namespace tessera
