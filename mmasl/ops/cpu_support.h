// What the compiled losses share beside their mathematics: dtypes, half precision, instruction sets.
#pragma once

#include "cpu_math.h"

#include <cstring>

enum Dtype : int { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT64, UINT8 };

// --- Half precision goes through integers, which every instruction set vectorises.

INLINE float widen(uint16_t x, bool brain) {
  if (brain) return bits<float>(uint32_t(x) << 16);
  uint32_t magnitude = uint32_t(x & 0x7fff) << 13, sign = uint32_t(x & 0x8000) << 16;
  float scaled = bits<float>(magnitude) * 0x1p112f;  // exact, subnormals included
  uint32_t wide = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : bits<uint32_t>(scaled);
  return bits<float>(wide | sign);
}

// n numbers from `first` on, of a dtype that T is computed for: T itself, or half precision for float.
template <class T> INLINE void load(const void *source, int64_t dtype, int64_t first, int64_t n, T *z) {
  if (dtype == FLOAT32 || dtype == FLOAT64) {
    std::memcpy(z, static_cast<const T *>(source) + first, n * sizeof(T));
    return;
  }
  const uint16_t *half = static_cast<const uint16_t *>(source) + first;
  bool brain = dtype == BFLOAT16;
  for (int64_t i = 0; i < n; ++i) z[i] = T(widen(half[i], brain));
}

// --- The same code for each instruction set; the widest that the processor has is chosen when the library is loaded.

#if defined(__x86_64__)
#define FOR_AVX2 __attribute__((target("avx2,fma")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")))
#else
#define FOR_AVX2
#define FOR_AVX512
#endif

// 0 baseline, 1 AVX2, 2 AVX-512.
static inline int best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}
