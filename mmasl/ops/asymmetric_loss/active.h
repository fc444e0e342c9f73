// Moves the negatives above the margin to the front of a block: the loss and the gradient of all others are 0.
#pragma once

#include "../cpu_support.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

constexpr int LANES = 16;  // of the longest vector

// Each of these moves the active logits of z[0..n) to its front, writes where they were, and returns how many they are.
// Active is what is not at or below the margin, whose logit is hi + lo; so NaN is, and gets through to the loss.
// n is at most the length of both arrays. Stores are whole vectors: they never pass the entries read before them.

template <class T> INLINE int gather_from(int i, T *z, int n, T hi, T lo, int *at, int count) {
  for (; i < n; ++i) {
    const T logit = z[i];
    z[count] = logit;
    at[count] = i;
    count += !((logit - hi) - lo <= 0);
  }
  return count;
}

static int gather_baseline(float *z, int n, float hi, float lo, int *at) { return gather_from(0, z, n, hi, lo, at, 0); }

#if defined(__x86_64__)
struct Permutations {  // of eight lanes: those of a mask's bits come first
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
  return gather_from(i, z, n, hi, lo, at, count);
}

FOR_AVX512 static int gather_avx512(float *z, int n, float hi, float lo, int *at) {
  const __m512 high = _mm512_set1_ps(hi), low = _mm512_set1_ps(lo);
  __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int count = 0, i = 0;
  for (; i + 16 <= n; i += 16, index = _mm512_add_epi32(index, _mm512_set1_epi32(16))) {
    const __m512 logits = _mm512_loadu_ps(z + i);
    const __m512 distance = _mm512_sub_ps(_mm512_sub_ps(logits, high), low);
    const __mmask16 active = _mm512_cmp_ps_mask(distance, _mm512_setzero_ps(), _CMP_NLE_UQ);
    // In registers first: some processors are slow to compress into memory.
    _mm512_storeu_ps(z + count, _mm512_maskz_compress_ps(active, logits));
    _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(active, index));
    count += __builtin_popcount(active);
  }
  return gather_from(i, z, n, hi, lo, at, count);
}

constexpr decltype(&gather_baseline) GATHER[] = {gather_baseline, gather_avx2, gather_avx512};
#else
constexpr decltype(&gather_baseline) GATHER[] = {gather_baseline};
#endif

INLINE int gather(int64_t level, float *z, int n, float hi, float lo, int *at) { return GATHER[level](z, n, hi, lo, at); }
INLINE int gather(int64_t, double *z, int n, double hi, double lo, int *at) { return gather_from(0, z, n, hi, lo, at, 0); }

// The same where each entry has a margin of its own; also keeps the distances from it.
template <class T> INLINE int gather_by_entry(T *z, int n, const T *hi, const T *lo, int *at, T *distance) {
  int count = 0;
  for (int i = 0; i < n; ++i) {
    const T logit = z[i], beyond = (logit - hi[i]) - lo[i];
    z[count] = logit;
    at[count] = i;
    distance[count] = beyond;
    count += !(beyond <= 0);
  }
  return count;
}

// out[i] = values[at[i]]
template <class T> INLINE void pick(const T *values, const int *at, int count, T *out) {
  for (int i = 0; i < count; ++i) out[i] = values[at[i]];
}

// And back: out[at[i]] = packed[i], and 0 in between. Not inlined, for with AVX-512 gcc would use its scatter
// instruction, and on an AMD EPYC a store for each entry takes a third of that time.
template <class T> __attribute__((noinline)) static void spread(const T *packed, const int *at, int count, T *out, int n) {
  for (int i = 0; i < n; ++i) out[i] = 0;
  for (int i = 0; i < count; ++i) out[at[i]] = packed[i];
}
