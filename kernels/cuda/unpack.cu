#include "kernels/cuda/kernels.cuh"

// Products and sums are rounded one by one (__fmul_rn and so on are never contracted), as in kernels/unpack_blocks.cpp.
namespace tessera::cuda {
namespace {

__device__ inline float half_at(const uint8_t* bytes) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bytes[0] | bytes[1] << 8)));
}

__device__ inline float scaled(float factor, int number) {
  return __fmul_rn(factor, static_cast<float>(number));
}

__device__ inline int nibble(const uint8_t* q, int i) {
  return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

/// Number `i` of a block. One function for each format, with the block's size.
struct Q4_0 {
  static constexpr int kNumbers = 32, kBytes = 18;
  __device__ static float at(const uint8_t* b, int i) { return scaled(half_at(b), nibble(b + 2, i) - 8); }
};

struct Q4_1 {
  static constexpr int kNumbers = 32, kBytes = 20;
  __device__ static float at(const uint8_t* b, int i) {
    return __fadd_rn(scaled(half_at(b), nibble(b + 4, i)), half_at(b + 2));
  }
};

__device__ inline int five_bits(const uint8_t* high, const uint8_t* q, int i) {
  return nibble(q, i) | (high[i / 8] >> i % 8 & 1) << 4;
}

struct Q5_0 {
  static constexpr int kNumbers = 32, kBytes = 22;
  __device__ static float at(const uint8_t* b, int i) { return scaled(half_at(b), five_bits(b + 2, b + 6, i) - 16); }
};

struct Q5_1 {
  static constexpr int kNumbers = 32, kBytes = 24;
  __device__ static float at(const uint8_t* b, int i) {
    return __fadd_rn(scaled(half_at(b), five_bits(b + 4, b + 8, i)), half_at(b + 2));
  }
};

struct Q8_0 {
  static constexpr int kNumbers = 32, kBytes = 34;
  __device__ static float at(const uint8_t* b, int i) { return scaled(half_at(b), static_cast<int8_t>(b[2 + i])); }
};

struct Q2K {
  static constexpr int kNumbers = 256, kBytes = 84;
  __device__ static float at(const uint8_t* b, int i) {
    const int group = i / 16, number = b[16 + group / 8 * 32 + group % 2 * 16 + i % 16] >> group % 8 / 2 * 2 & 3;
    const float scale = scaled(half_at(b + 80), b[group] & 15), low = scaled(half_at(b + 82), b[group] >> 4);
    return __fsub_rn(scaled(scale, number), low);
  }
};

struct Q3K {
  static constexpr int kNumbers = 256, kBytes = 110;
  __device__ static float at(const uint8_t* b, int i) {
    const uint8_t *high = b, *q = b + 32, *packed = b + 96;
    const int group = i / 16, low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int scale = (low | (packed[8 + group % 4] >> group / 4 * 2 & 3) << 4) - 32;
    const int stored = q[group / 8 * 32 + group % 2 * 16 + i % 16] >> group % 8 / 2 * 2 & 3;
    const int number = stored - ((high[group % 2 * 16 + i % 16] >> group / 2 & 1) != 0 ? 0 : 4);
    return scaled(scaled(half_at(b + 108), scale), number);
  }
};

/// Scale and minimum of a group of Q4_K and Q5_K.
__device__ inline void six_bits(const uint8_t* packed, int group, int& scale, int& minimum) {
  if (group < 4) {
    scale = packed[group] & 63;
    minimum = packed[group + 4] & 63;
  } else {
    const int high = packed[group + 4];
    scale = (high & 15) | (packed[group - 4] >> 2 & 48);
    minimum = high >> 4 | (packed[group] >> 2 & 48);
  }
}

__device__ inline float k_number(const uint8_t* b, int group, int number) {
  int scale, minimum;
  six_bits(b + 4, group, scale, minimum);
  return __fsub_rn(scaled(scaled(half_at(b), scale), number), scaled(half_at(b + 2), minimum));
}

struct Q4K {
  static constexpr int kNumbers = 256, kBytes = 144;
  __device__ static float at(const uint8_t* b, int i) {
    const int group = i / 32;
    return k_number(b, group, b[16 + group / 2 * 32 + i % 32] >> group % 2 * 4 & 15);
  }
};

struct Q5K {
  static constexpr int kNumbers = 256, kBytes = 176;
  __device__ static float at(const uint8_t* b, int i) {
    const int group = i / 32, low = b[48 + group / 2 * 32 + i % 32] >> group % 2 * 4 & 15;
    return k_number(b, group, low | (b[16 + i % 32] >> group & 1) << 4);
  }
};

struct Q6K {
  static constexpr int kNumbers = 256, kBytes = 210;
  __device__ static float at(const uint8_t* b, int i) {
    const int group = i / 16, row = group / 2, half = row / 4, within = group % 2 * 16 + i % 16;
    const int low = b[half * 64 + row % 2 * 32 + within] >> row / 2 % 2 * 4 & 15;
    const int number = (low | (b[128 + half * 32 + within] >> row % 4 * 2 & 3) << 4) - 32;
    return scaled(scaled(half_at(b + 208), static_cast<int8_t>(b[192 + group])), number);
  }
};

struct Int8 {
  static constexpr int kNumbers = 1, kBytes = 1;
  __device__ static float at(const uint8_t* b, int) { return static_cast<float>(static_cast<int8_t>(*b)); }
};

/// Eight bits: exponents of 4, without infinities, a NaN where all bits but the sign are set.
struct E4m3 {
  static constexpr int kNumbers = 1, kBytes = 1;
  __device__ static float at(const uint8_t* b, int) {
    const int code = *b & 0x7f, exponent = code >> 3, mantissa = code & 7;
    float v = exponent > 0 ? ldexpf(static_cast<float>(8 + mantissa), exponent - 10)
                           : ldexpf(static_cast<float>(mantissa), -9);
    if (code == 0x7f) v = __uint_as_float(0x7fffffffu);
    return (*b & 0x80) != 0 ? -v : v;
  }
};

/// The upper half of a float16.
struct E5m2 {
  static constexpr int kNumbers = 1, kBytes = 1;
  __device__ static float at(const uint8_t* b, int) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(*b << 8)));
  }
};

struct Half {
  static constexpr int kNumbers = 1, kBytes = 2;
  __device__ static float at(const uint8_t* b, int) { return half_at(b); }
};

struct Bfloat16 {
  static constexpr int kNumbers = 1, kBytes = 2;
  __device__ static float at(const uint8_t* b, int) {
    return __uint_as_float(static_cast<unsigned>(b[0] << 16) | static_cast<unsigned>(b[1]) << 24);
  }
};

struct Float {
  static constexpr int kNumbers = 1, kBytes = 4;
  __device__ static float at(const uint8_t* b, int) {
    return __uint_as_float(static_cast<unsigned>(b[0] | b[1] << 8 | b[2] << 16) | static_cast<unsigned>(b[3]) << 24);
  }
};

/// A thread for each number; a warp's lie in one block or in neighbors.
template <typename Format, typename T>
__global__ void __launch_bounds__(kMostThreads) unpack_kernel(const Unpack u) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= u.rows * u.columns) return;
  const int64_t number = u.first * u.columns + i;
  float v =
      Format::at(u.bytes + number / Format::kNumbers * Format::kBytes, static_cast<int>(number % Format::kNumbers));
  if (u.scales) {
    const int64_t scales = (u.columns + u.scale_columns - 1) / u.scale_columns;
    v = __fmul_rn(v, u.scales[number / u.columns / u.scale_rows * scales + number % u.columns / u.scale_columns]);
  }
  round_into(v, static_cast<T*>(u.y)[i]);
}

template <typename Format>
int launch_unpack(const Unpack& u, void* stream) {
  return with_value(u.type, [&](auto type) {
    const int64_t blocks = (u.rows * u.columns + kMostThreads - 1) / kMostThreads;
    return launch(&unpack_kernel<Format, decltype(type)>, blocks, kMostThreads, stream, u);
  });
}

}  // namespace

int unpack(const Unpack& u, void* stream) {
  using Launch = int (*)(const Unpack&, void*);
  constexpr Launch kLaunches[] = {
      // in the order of Packed
      launch_unpack<Q4_0>, launch_unpack<Q4_1>, launch_unpack<Q5_0>,     launch_unpack<Q5_1>,
      launch_unpack<Q8_0>, launch_unpack<Q2K>,  launch_unpack<Q3K>,      launch_unpack<Q4K>,
      launch_unpack<Q5K>,  launch_unpack<Q6K>,  launch_unpack<Int8>,     launch_unpack<E4m3>,
      launch_unpack<E5m2>, launch_unpack<Half>, launch_unpack<Bfloat16>, launch_unpack<Float>};
  const auto index = static_cast<unsigned>(u.packed);
  if (index >= sizeof(kLaunches) / sizeof(*kLaunches)) return static_cast<int>(cudaErrorInvalidValue);
  return kLaunches[index](u, stream);
}

}  // namespace tessera::cuda
