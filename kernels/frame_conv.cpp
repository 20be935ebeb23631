#include "kernels/frame_conv.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/parallel_for.h"
#include "kernels/direct_conv.h"
#include "kernels/packed.h"
#include "kernels/simd.h"
#include "kernels/value_type.h"
#include "kernels/winograd_filtering.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 means its own intrinsics' undefined lanes
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#endif

namespace tessera {

int64_t frames_of(const FrameParts& parts) {
  int64_t frames = 0;
  for (const at::Tensor& part : parts) frames += part.size(1);
  return frames;
}

bool has_frame_conv(const at::Tensor& x, const at::Tensor& weight) {
  const auto square = [&](int64_t side) { return weight.size(-1) == side && weight.size(-2) == side; };
  return can_vectorize(x) && x.scalar_type() == at::kBFloat16 && has_direct_conv(DirectType::kBfloat16) &&
         !needs_gradient(x) && !needs_gradient(weight) && weight.is_cpu() && !packed_weight(weight) &&
         (square(1) || square(3));
}

#if defined(__x86_64__)

namespace {

// Transformed frames and products of a task stay in a core's second-level cache, unless so few rows would be multiplied
// with a block of filters at a time that reading the filters took longer.
constexpr int64_t kTaskBytes = 1 << 20, kLeastRows = 48;
constexpr int64_t kFramesAtOnce =
    4;  // outputs of a task: more would transform fewer frames twice, but need more memory

/// One call, as its tasks see it.
struct FrameJob {
  const FrameFilters& filters;
  const Filtering &down, &across;
  int64_t first_tap = 0;  // those before see only zeros
  int64_t stride = 1;
  bool enlarge = false;
  int64_t batch = 0, frames = 0, height = 0, width = 0;  // of the output
  std::vector<const uint16_t*> sources;                  // [batch][frame] of [H, W, in]; null: zeros
  std::vector<float> bias;                               // [wide_out]
  const uint16_t* residual = nullptr;
  uint16_t* out = nullptr;

  // Tasks: batch x groups x chunks.
  int64_t groups = 1, group_frames = 1;  // of output frames
  int64_t chunks = 1, chunk_tiles = 1;   // of tiles in raster order

  explicit FrameJob(const FrameFilters& f) : filters(f), down(frame_rows(f.form)), across(frame_columns(f.form)) {}

  int64_t terms() const { return down.products * across.products; }
  int64_t tile_columns() const { return (width + across.outputs - 1) / across.outputs; }
  int64_t tiles() const { return (height + down.outputs - 1) / down.outputs * tile_columns(); }
  int64_t taps() const { return filters.taps - first_tap; }
  int64_t slots(int64_t outputs) const { return (outputs - 1) * stride + taps(); }
  int64_t widest_block() const {
    int64_t widest = 0;
    for (int64_t first = 0; first < filters.wide_out; first += direct_block(filters.wide_out - first))
      widest = std::max(widest, direct_block(filters.wide_out - first));
    return widest;
  }
};

/// Where a task's transformed frames [term][tile][slot][in] and products [term][frame][tile][block] lie. Terms are that
/// many values apart that they do not fall on the same lines of a cache.
struct FrameScratch {
  int64_t input_pitch, product_pitch, products_at, bytes;

  explicit FrameScratch(const FrameJob& job) {
    const int64_t tiles = job.chunk_tiles, outputs = job.group_frames;
    input_pitch = apart(tiles * job.slots(outputs) * job.filters.wide_in * 2) / 2;
    product_pitch = apart(tiles * outputs * job.widest_block() * 4) / 4;
    products_at = job.terms() * input_pitch * 2;
    bytes = products_at + job.terms() * product_pitch * 4;
  }
  static int64_t apart(int64_t length) { return (length + 4095) / 4096 * 4096 + 192; }
};

void cut_into_tasks(FrameJob& job) {
  job.groups = (job.frames + kFramesAtOnce - 1) / kFramesAtOnce;
  job.group_frames = (job.frames + job.groups - 1) / job.groups;
  const int64_t tiles = job.tiles(), outputs = job.group_frames;
  const int64_t tile_bytes =
      job.terms() * (job.slots(outputs) * job.filters.wide_in * 2 + outputs * job.widest_block() * 4);
  const int64_t most = std::clamp(std::max(kTaskBytes / tile_bytes, kLeastRows / outputs), int64_t{1}, tiles);
  job.chunks = (tiles + most - 1) / most;
  const int64_t threads = at::get_num_threads();
  while (job.batch * job.groups * job.chunks % threads != 0 && job.chunks < tiles) ++job.chunks;
  job.chunk_tiles = (tiles + job.chunks - 1) / job.chunks;
}

TESSERA_AVX512_BF16_CODE inline __m512 widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/// B^T d B of one tile whose pixels are given, each `channels` values.
template <const Filtering& kDown, const Filtering& kAcross>
TESSERA_AVX512_BF16_CODE void transform_input(const uint16_t* const* pixels, int64_t channels, uint16_t* to,
                                              int64_t pitch) {
  constexpr int kHeight = kDown.inputs(), kWidth = kAcross.inputs();
  for (int64_t channel = 0; channel < channels; channel += 16) {
    __m512 bt_d[kDown.products][kWidth];
    TESSERA_UNROLL for (int column = 0; column < kWidth; ++column) {
      __m512 x[kHeight];
      TESSERA_UNROLL for (int row = 0; row < kHeight; ++row) x[row] =
          widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(pixels[row * kWidth + column] + channel)));
      TESSERA_UNROLL for (int p = 0; p < kDown.products; ++p) bt_d[p][column] =
          weighted_sum(kDown.terms[p].input, kHeight, x);
    }
    TESSERA_UNROLL for (int p = 0; p < kDown.products; ++p) TESSERA_UNROLL for (int q = 0; q < kAcross.products; ++q)
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(to + (p * kAcross.products + q) * pitch + channel),
            reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(weighted_sum(kAcross.terms[q].input, kWidth, bt_d[p]))));
  }
}

/// One block of output channels of one tile in one frame.
struct OutputTile {
  int64_t rows, columns;         // inside the picture
  int64_t at, row_pitch, pixel;  // of the output: values
  int64_t channels;              // of the block, those that the output has
};

/// A^T m A + bias (+ residual) of products m, `pitch` values apart.
template <const Filtering& kDown, const Filtering& kAcross>
TESSERA_AVX512_BF16_CODE void transform_output(const float* products, int64_t pitch, const OutputTile& tile,
                                               const float* bias, const uint16_t* residual, uint16_t* out) {
  for (int64_t channel = 0; channel < tile.channels; channel += 16) {
    __m512 at_m[kDown.outputs][kAcross.products];
    TESSERA_UNROLL for (int column = 0; column < kAcross.products; ++column) {
      __m512 m[kDown.products];
      TESSERA_UNROLL for (int row = 0; row < kDown.products; ++row) m[row] =
          _mm512_loadu_ps(products + (row * kAcross.products + column) * pitch + channel);
      TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) at_m[row][column] =
          weighted_sum(kDown.output[row], kDown.products, m);
    }
    const __m512 shift = _mm512_loadu_ps(bias + channel);
    const int64_t left = std::min<int64_t>(16, tile.channels - channel);
    const auto mask = static_cast<__mmask16>((1u << left) - 1);
    TESSERA_UNROLL for (int row = 0; row < kDown.outputs; ++row) {
      TESSERA_UNROLL for (int column = 0; column < kAcross.outputs; ++column) {
        if (row >= tile.rows || column >= tile.columns) continue;
        const int64_t place = tile.at + row * tile.row_pitch + column * tile.pixel + channel;
        __m512 value = _mm512_add_ps(weighted_sum(kAcross.output[column], kAcross.products, at_m[row]), shift);
        if (residual) value = _mm512_add_ps(value, widen(_mm256_maskz_loadu_epi16(mask, residual + place)));
        _mm256_mask_storeu_epi16(out + place, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
      }
    }
  }
}

/// The output frames [frame, frame + outputs) of `tiles` tiles from `tile` on, of one sample.
struct FrameTask {
  int64_t sample, frame, outputs, tile, tiles;

  FrameTask(const FrameJob& job, int64_t index) {
    const int64_t group = index / job.chunks % job.groups, chunk = index % job.chunks;
    sample = index / job.chunks / job.groups;
    frame = group * job.group_frames;
    outputs = std::min(job.group_frames, job.frames - frame);
    tile = chunk * job.chunk_tiles;
    tiles = std::min(job.chunk_tiles, job.tiles() - tile);
  }
};

template <const Filtering& kDown, const Filtering& kAcross>
void transform_inputs(const FrameJob& job, const FrameTask& task, uint16_t* inputs, int64_t pitch) {
  constexpr int kHeight = kDown.inputs(), kWidth = kAcross.inputs();
  const int64_t in = job.filters.wide_in, border = job.down.taps / 2, slots = job.slots(task.outputs);
  const int64_t scale = job.enlarge ? 2 : 1, source_width = job.width / scale;
  const int64_t all_sources = static_cast<int64_t>(job.sources.size()) / job.batch;
  const std::vector<uint16_t> zeros(static_cast<size_t>(in));
  for (int64_t i = 0; i < task.tiles; ++i) {
    const int64_t top = (task.tile + i) / job.tile_columns() * kDown.outputs - border;
    const int64_t left = (task.tile + i) % job.tile_columns() * kAcross.outputs - border;
    for (int64_t slot = 0; slot < slots; ++slot) {
      const uint16_t* frame =
          job.sources[static_cast<size_t>(task.sample * all_sources + task.frame * job.stride + slot)];
      const uint16_t* pixels[kHeight * kWidth];
      for (int row = 0; row < kHeight; ++row)
        for (int column = 0; column < kWidth; ++column) {
          const int64_t y = top + row, x = left + column;
          const bool inside = frame && y >= 0 && y < job.height && x >= 0 && x < job.width;
          pixels[row * kWidth + column] = inside ? frame + (y / scale * source_width + x / scale) * in : zeros.data();
        }
      transform_input<kDown, kAcross>(pixels, in, inputs + (i * slots + slot) * in, pitch);
    }
  }
}

template <const Filtering& kDown, const Filtering& kAcross>
void transform_outputs(const FrameJob& job, const FrameTask& task, const float* products, int64_t pitch, int64_t first,
                       int64_t block) {
  const int64_t out = job.filters.out;
  for (int64_t i = 0; i < task.tiles; ++i) {
    const int64_t y = (task.tile + i) / job.tile_columns() * kDown.outputs;
    const int64_t x = (task.tile + i) % job.tile_columns() * kAcross.outputs;
    for (int64_t t = 0; t < task.outputs; ++t) {
      const int64_t frame = task.sample * job.frames + task.frame + t;
      const OutputTile tile{.rows = job.height - y,
                            .columns = job.width - x,
                            .at = ((frame * job.height + y) * job.width + x) * out + first,
                            .row_pitch = job.width * out,
                            .pixel = out,
                            .channels = std::min(block, out - first)};
      transform_output<kDown, kAcross>(products + (t * task.tiles + i) * block, pitch, tile, job.bias.data() + first,
                                       job.residual, job.out);
    }
  }
}

template <const Filtering& kDown, const Filtering& kAcross>
void run_task(const FrameJob& job, const FrameTask& task, const FrameScratch& scratch, void* memory) {
  auto* inputs = static_cast<uint16_t*>(memory);
  auto* products = reinterpret_cast<float*>(static_cast<uint8_t*>(memory) + scratch.products_at);
  transform_inputs<kDown, kAcross>(job, task, inputs, scratch.input_pitch);
  const int64_t in = job.filters.wide_in, slots = job.slots(task.outputs), rows = task.tiles * task.outputs;
  DirectConv product;
  product.store = DirectStore::kRawFloat;
  product.run = job.taps() * in;
  for (int64_t t = 0; t < task.outputs; ++t)  // tiles of a frame follow each other at equal distances
    for (int64_t i = 0; i < task.tiles; ++i)
      product.from.push_back(static_cast<int32_t>((i * slots + t * job.stride) * in));
  product.to.resize(product.from.size());
  const auto* weights = static_cast<const uint16_t*>(job.filters.packed.const_data_ptr());
  for (int64_t first = 0; first < job.filters.wide_out; first += product.channels) {
    product.channels = direct_block(job.filters.wide_out - first);
    for (int64_t row = 0; row < rows; ++row)
      product.to[static_cast<size_t>(row)] = static_cast<int32_t>(row * product.channels);
    for (int64_t term = 0; term < job.terms(); ++term) {
      product.weights = weights + job.first_tap * in * product.channels;
      direct_conv(DirectType::kBfloat16, product, inputs + term * scratch.input_pitch,
                  products + term * scratch.product_pitch);
      weights += job.filters.taps * in * product.channels;
    }
    transform_outputs<kDown, kAcross>(job, task, products, scratch.product_pitch, first, product.channels);
  }
}

template <const Filtering& kDown, const Filtering& kAcross>
void run(const FrameJob& job) {
  const FrameScratch scratch(job);
  parallel_for(0, job.batch * job.groups * job.chunks, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor memory = at::empty({scratch.bytes}, at::kByte);
    for (int64_t index = begin; index < end; ++index) {
      const FrameTask task(job, index);
      if (task.outputs > 0 && task.tiles > 0) run_task<kDown, kAcross>(job, task, scratch, memory.data_ptr());
    }
  });
}

/// Contiguous, with channels up to a multiple of 16.
at::Tensor widened(const at::Tensor& part, const FrameFilters& filters) {
  TORCH_CHECK(part.dim() == 5 && part.size(-1) == filters.in && part.scalar_type() == at::kBFloat16,
              "frame_conv: want bfloat16 [B, t, H, W, ", filters.in, "], got ", part.scalar_type(), " ", part.sizes());
  if (filters.in == filters.wide_in) return part.contiguous();
  return at::constant_pad_nd(part, {0, filters.wide_in - filters.in});
}

/// The frames of all samples in order; `parts` keeps them.
std::vector<const uint16_t*> list_sources(const FrameParts& parts, int64_t zeros) {
  std::vector<const uint16_t*> sources;
  for (int64_t sample = 0; sample < parts[0].size(0); ++sample) {
    sources.insert(sources.end(), static_cast<size_t>(zeros), nullptr);
    for (const at::Tensor& part : parts) {
      const int64_t values = part.size(2) * part.size(3) * part.size(4);
      for (int64_t t = 0; t < part.size(1); ++t)
        sources.push_back(static_cast<const uint16_t*>(part.const_data_ptr()) + (sample * part.size(1) + t) * values);
    }
  }
  return sources;
}

}  // namespace

at::Tensor frame_conv(const FrameConv& conv, const FrameFilters& filters) {
  TORCH_CHECK(has_direct_conv(DirectType::kBfloat16), "frame_conv: this machine lacks the instructions");
  FrameParts parts;
  for (const at::Tensor& part : conv.parts)
    if (part.numel() > 0) parts.push_back(widened(part, filters));
  TORCH_CHECK(!parts.empty(), "frame_conv: no frames");
  for (const at::Tensor& part : parts)
    TORCH_CHECK(part.size(0) == parts[0].size(0) && part.sizes().slice(2) == parts[0].sizes().slice(2),
                "frame_conv: parts of ", parts[0].sizes(), " and ", part.sizes());
  const int64_t scale = conv.enlarge ? 2 : 1, given = conv.zeros + frames_of(parts);
  TORCH_CHECK(given >= filters.taps, "frame_conv: ", given, " frames for ", filters.taps, " taps");
  FrameJob job(filters);
  job.stride = conv.stride;
  job.enlarge = conv.enlarge;
  job.batch = parts[0].size(0);
  job.frames = (given - filters.taps) / conv.stride + 1;
  job.height = parts[0].size(2) * scale;
  job.width = parts[0].size(3) * scale;
  job.first_tap = job.frames == 1 ? std::min(conv.zeros, filters.taps - 1) : 0;
  job.sources = list_sources(parts, conv.zeros - job.first_tap);
  const at::Tensor bias = conv.bias.to(at::kFloat).contiguous();
  job.bias.assign(bias.const_data_ptr<float>(), bias.const_data_ptr<float>() + filters.out);
  job.bias.resize(static_cast<size_t>(filters.wide_out));
  const at::Tensor out = at::empty({job.batch, job.frames, job.height, job.width, filters.out}, parts[0].options());
  at::Tensor residual;
  if (conv.residual.defined()) {
    TORCH_CHECK(conv.residual.sizes() == out.sizes() && conv.residual.scalar_type() == at::kBFloat16,
                "frame_conv: residual ", conv.residual.sizes(), " for an output ", out.sizes());
    residual = conv.residual.contiguous();
    job.residual = static_cast<const uint16_t*>(residual.const_data_ptr());
  }
  job.out = static_cast<uint16_t*>(out.data_ptr());
  cut_into_tasks(job);
  switch (filters.form) {
    case FrameForm::kPoint:
      run<kF11, kF11>(job);
      break;
    case FrameForm::kFine:
      run<kF23, kF23>(job);
      break;
    case FrameForm::kCoarse:
      run<kF43Roots, kF23>(job);
      break;
  }
  return out;
}

#else

at::Tensor frame_conv(const FrameConv&, const FrameFilters&) {
  TORCH_CHECK(false, "frame_conv: this machine lacks the instructions");
}

#endif

}  // namespace tessera
