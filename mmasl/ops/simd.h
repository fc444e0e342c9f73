// The parts of the loops of the compiled losses, in forms that gcc vectorises for every instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__) && defined(__GLIBC__)
// Without this the library would need glibc 2.29, whose exp and log differ only in that they do not set errno.
__asm__(".symver exp, exp@GLIBC_2.2.5");
__asm__(".symver log, log@GLIBC_2.2.5");
#endif

// A function is inlined into its caller, and so it is compiled for the instruction set of the caller.
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER __attribute__((always_inline)) inline

template <class To, class From> INLINE To bits(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From), "bits");
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

// This chooses by masks. gcc turns ?: on floats into branches, turns these back into masks when it vectorises, and
// computes the code behind them once for each way through them.
INLINE float choose(bool condition, float yes, float no) {
  int32_t mask = -int32_t(condition);
  return bits<float>((bits<int32_t>(yes) & mask) | (bits<int32_t>(no) & ~mask));
}
INLINE double choose(bool condition, double yes, double no) { return condition ? yes : no; }

// --- Elementary functions. The coefficients of exp and log are those of Cephes (S. L. Moshier), expf.c and logf.c. The
// polynomials are evaluated by pairs, because the loops wait more for results than for arithmetic units.

INLINE float exp_(float x) {  // x <= 0; 0 below the smallest normal number
  float clamped = choose(x > -87.0f, x, -87.0f);
  float shifted = clamped * 1.44269504f + 12582912.0f;  // the integer nearest to x / ln 2, in the low bits
  float n = shifted - 12582912.0f;
  float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float r2 = r * r;
  float high = (1.9875691500e-4f * r + 1.3981999507e-3f) * r2 + (8.3334519073e-3f * r + 4.1665795894e-2f);
  float y = (high * r2 + (1.6666665459e-1f * r + 5.0000001201e-1f)) * r2 + (r + 1.0f);
  float power = bits<float>(bits<int32_t>(y) + (bits<int32_t>(shifted) << 23));
  return choose(x > -87.0f, power, 0.0f);
}
INLINE double exp_(double x) { return std::exp(x); }

INLINE float log1p_core(float x) {  // log(1 + x) - x for 1 + x in [sqrt(1/2), sqrt(2)]
  float x2 = x * x, x4 = x2 * x2;
  float high = (7.0376836292e-2f * x2 + (-1.1514610310e-1f * x + 1.1676998740e-1f)) * x2;
  high += -1.2420140846e-1f * x + 1.4249322787e-1f;
  float low = (-1.6668057665e-1f * x + 2.0000714765e-1f) * x2 + (-2.4999993993e-1f * x + 3.3333331174e-1f);
  return x2 * ((high * x4 + low) * x - 0.5f);
}

INLINE float log_(float x) {  // x a positive normal number
  int32_t offset = bits<int32_t>(x) - 0x3f3504f3;  // from sqrt(1/2)
  float k = static_cast<float>(offset >> 23);
  float f = bits<float>((offset & 0x007fffff) + 0x3f3504f3) - 1.0f;
  return k * 0.693359375f + (f + (log1p_core(f) - k * 2.12194440e-4f));
}
INLINE double log_(double x) { return std::log(x); }

INLINE float log1p_unit(float x) {  // x in [0, 1]: small values keep their digits
  bool high = x > 0.41421356f;
  float f = choose(high, 0.5f * x - 0.5f, x);
  return f + log1p_core(f) + choose(high, 0.693147181f, 0.0f);
}
INLINE double log1p_unit(double x) { return std::log1p(x); }

INLINE float one_minus_exp(float d) {  // 1 - exp(-d) for d > 0
  float series = 2.7557319e-6f;  // 1 / 9!
  series = series * -d + 2.4801587e-5f;
  series = series * -d + 1.9841270e-4f;
  series = series * -d + 1.3888889e-3f;
  series = series * -d + 8.3333333e-3f;
  series = series * -d + 4.1666667e-2f;
  series = series * -d + 1.6666667e-1f;
  series = series * -d + 0.5f;
  series = series * -d + 1.0f;
  return choose(d < 0.7f, d * series, 1.0f - exp_(-d));
}
INLINE double one_minus_exp(double d) { return -std::expm1(-d); }

template <class T> INLINE T power(T x, T gamma) {  // x in [0, 1]; exactly 1 for gamma = 0
  constexpr T tiny = std::numeric_limits<T>::min();
  return exp_(gamma * log_(choose(x > tiny, x, tiny)));
}

// --- Reading logits. Half precision is converted by integer operations, which every instruction set vectorises.

enum Dtype : int { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT64, UINT8 };

INLINE float widen(uint16_t x, bool brain) {
  if (brain) return bits<float>(uint32_t(x) << 16);
  uint32_t magnitude = uint32_t(x & 0x7fff) << 13, sign = uint32_t(x & 0x8000) << 16;
  float scaled = bits<float>(magnitude) * 0x1p112f;  // exact, subnormals included
  uint32_t wide = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : bits<uint32_t>(scaled);
  return bits<float>(wide | sign);
}

// Reads n numbers from `first` on. Their dtype is T or, if T is float, half precision.
template <class T> INLINE void load(const void *source, int64_t dtype, int64_t first, int64_t n, T *z) {
  if (dtype == FLOAT32 || dtype == FLOAT64) {
    std::memcpy(z, static_cast<const T *>(source) + first, n * sizeof(T));
    return;
  }
  const uint16_t *half = static_cast<const uint16_t *>(source) + first;
  bool brain = dtype == BFLOAT16;
  for (int64_t i = 0; i < n; ++i) z[i] = T(widen(half[i], brain));
}

// --- Instruction sets. The same code is compiled for each of them, and the library takes the widest of the processor.

#if defined(__x86_64__)
#define FOR_AVX2 __attribute__((target("avx2,fma")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")))
#else
#define FOR_AVX2
#define FOR_AVX512
#endif

// Returns 0 for the baseline, 1 for AVX2 and 2 for AVX-512.
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

// --- Gathering: entries that need work move to the front of their block, and the results move back to their places.

constexpr int LANES = 16;  // of the longest vector

// How far a logit is above the margin, whose logit is hi + lo: the same margin for all entries, or one for each.
template <class T> struct Margin {
  T hi, lo;
  INLINE_MEMBER T distance(int, T z) const { return (z - hi) - lo; }
  INLINE_MEMBER void keep(int, T) const {}
};
template <class T> struct MarginOfEntry {
  const T *hi, *lo;
  T *kept;  // receives the distances of the active entries
  INLINE_MEMBER T distance(int i, T z) const { return (z - hi[i]) - lo[i]; }
  INLINE_MEMBER void keep(int at, T distance) const { kept[at] = distance; }
};

// Each gather moves the active logits of z[0..n) to its front, writes where they were, and returns their number. A logit
// is active if it is not at or below the margin; NaN therefore is active and reaches the loss. n is at most the length
// of both arrays. Whole vectors are stored, but never past the entries that were read before.

template <class T, class M> INLINE int gather_from(int i, T *z, int n, const M &margin, int *at, int count) {
  for (; i < n; ++i) {
    const T logit = z[i], distance = margin.distance(i, logit);
    z[count] = logit;
    at[count] = i;
    margin.keep(count, distance);
    count += !(distance <= 0);
  }
  return count;
}

static int gather_baseline(float *z, int n, float hi, float lo, int *at) {
  return gather_from(0, z, n, Margin<float>{hi, lo}, at, 0);
}

#if defined(__x86_64__)
struct Permutations {  // of eight lanes, for each mask: the lanes whose bits are set come first
  alignas(64) uint8_t lanes[256][8] = {};
  constexpr Permutations() {
    for (int mask = 0; mask < 256; ++mask)
      for (int lane = 0, count = 0; lane < 8; ++lane)
        if (mask >> lane & 1) lanes[mask][count++] = uint8_t(lane);
  }
};
static constexpr Permutations FIRST;

FOR_AVX2 static int gather_avx2(float *z, int n, float hi, float lo, int *at) {
  const __m256 high = _mm256_set1_ps(hi), low = _mm256_set1_ps(lo);
  int count = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 logits = _mm256_loadu_ps(z + i);
    const __m256 distance = _mm256_sub_ps(_mm256_sub_ps(logits, high), low);
    const int active = _mm256_movemask_ps(_mm256_cmp_ps(distance, _mm256_setzero_ps(), _CMP_NLE_UQ));
    const __m256i first = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)FIRST.lanes[active]));
    _mm256_storeu_ps(z + count, _mm256_permutevar8x32_ps(logits, first));
    _mm256_storeu_si256((__m256i *)(at + count), _mm256_add_epi32(first, _mm256_set1_epi32(i)));
    count += __builtin_popcount(active);
  }
  return gather_from(i, z, n, Margin<float>{hi, lo}, at, count);
}

FOR_AVX512 static int gather_avx512(float *z, int n, float hi, float lo, int *at) {
  const __m512 high = _mm512_set1_ps(hi), low = _mm512_set1_ps(lo);
  __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int count = 0, i = 0;
  for (; i + 16 <= n; i += 16, index = _mm512_add_epi32(index, _mm512_set1_epi32(16))) {
    const __m512 logits = _mm512_loadu_ps(z + i);
    const __m512 distance = _mm512_sub_ps(_mm512_sub_ps(logits, high), low);
    const __mmask16 active = _mm512_cmp_ps_mask(distance, _mm512_setzero_ps(), _CMP_NLE_UQ);
    // Both are compressed in registers, because some processors are slow to compress into memory.
    _mm512_storeu_ps(z + count, _mm512_maskz_compress_ps(active, logits));
    _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(active, index));
    count += __builtin_popcount(active);
  }
  return gather_from(i, z, n, Margin<float>{hi, lo}, at, count);
}

constexpr decltype(&gather_baseline) GATHER[] = {gather_baseline, gather_avx2, gather_avx512};
#else
constexpr decltype(&gather_baseline) GATHER[] = {gather_baseline};
#endif

INLINE int gather(int64_t level, float *z, int n, float hi, float lo, int *at) { return GATHER[level](z, n, hi, lo, at); }
INLINE int gather(int64_t, double *z, int n, double hi, double lo, int *at) {
  return gather_from(0, z, n, Margin<double>{hi, lo}, at, 0);
}

// out[i] = values[at[i]]
template <class T> INLINE void pick(const T *values, const int *at, int count, T *out) {
  for (int i = 0; i < count; ++i) out[i] = values[at[i]];
}

// The way back: out[at[i]] = packed[i], and 0 in between. It is not inlined, because gcc would use the scatter
// instruction of AVX-512. On an AMD EPYC one store for each entry takes a third of the time of that instruction.
template <class T> __attribute__((noinline)) static void spread(const T *packed, const int *at, int count, T *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = 0;
  for (int i = 0; i < count; ++i) out[at[i]] = packed[i];
}
