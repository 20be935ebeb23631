#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

// Convolutions over the frames of a clip or over pictures, channels last, in bfloat16 on CPUs with AVX512-BF16:
// Winograd's minimal filtering F(4, 3) x F(2, 3) on 3x3 pixels, a third of the multiplications. Taps over time are
// summed among the transformed numbers, so that a frame is transformed once for all of them. Transforms and sums are
// float32; transformed frames and filters are rounded to bfloat16. No result depends on the number of threads, on the
// batch or on how a clip is cut into chunks.
namespace tessera {

/// How the 3x3 pixels of a kernel are computed. Both axes of kCoarse would be F(4, 3) if their errors did not multiply.
enum class FrameForm {
  kPoint,   ///< a kernel of 1x1 pixels
  kFine,    ///< F(2, 3) x F(2, 3): 4 multiplications an output
  kCoarse,  ///< F(4, 3) x F(2, 3): 3 multiplications, twice the rounding error
};

/// A convolution's weights, transformed and reordered for frame_conv.
struct FrameFilters {
  int64_t in = 0, out = 0;            ///< channels
  int64_t wide_in = 0, wide_out = 0;  ///< the same, with zeros up to multiples of 16
  int64_t taps = 1;                   ///< over time
  FrameForm form = FrameForm::kPoint;
  at::Tensor packed;  ///< bfloat16 [block of output channels][term][tap, pair of inputs][block][2]
};

/// weight: [out, in, taps, k, k] or [out, in, k, k] (one tap), k 1 or 3, floating, on the CPU.
FrameFilters pack_frame_filters(const at::Tensor& weight);

/// The packed filters of a layer's weight, made at their first use and again when the weight is another one or has
/// changed. A copy of a layer makes its own. Any number of threads may ask at once.
class FrameFilterCache {
 public:
  FrameFilterCache() = default;
  FrameFilterCache(const FrameFilterCache&) {}
  FrameFilterCache& operator=(const FrameFilterCache& other);

  std::shared_ptr<const FrameFilters> of(const at::Tensor& weight) const;

 private:
  struct Entry;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Entry> entry_;
};

/// Frames of a clip in order, in one or several tensors [B, t, H, W, C].
using FrameParts = std::vector<at::Tensor>;

int64_t frames_of(const FrameParts& parts);

struct FrameConv {
  FrameParts parts;          ///< bfloat16, on the CPU
  int64_t zeros = 0;         ///< frames of zeros before them
  int64_t stride = 1;        ///< frames from one output to the next
  bool enlarge = false;      ///< whether each pixel of the parts stands for 2x2 pixels
  at::Tensor bias;           ///< [out], any dtype
  at::Tensor residual = {};  ///< added to the output, of its shape and dtype; may be undefined
};

/// Whether frame_conv takes x and weight: bfloat16 on this CPU, no gradient wanted, a kernel of 1x1 or 3x3 pixels.
bool has_frame_conv(const at::Tensor& x, const at::Tensor& weight);

/// The convolution with k / 2 pixels of zeros around each frame and no frames after the last:
/// [B, (zeros + t - taps) / stride + 1, H, W, out] bfloat16. Throws c10::Error without the instructions and for parts
/// that do not fit each other or the filters.
at::Tensor frame_conv(const FrameConv& conv, const FrameFilters& filters);

}  // namespace tessera
