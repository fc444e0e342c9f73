// Elementary functions for the compiled losses, without a branch or a call that gcc could not vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__x86_64__) && defined(__GLIBC__)
// Without this the library would need glibc 2.29, whose exp and log differ in not setting errno.
__asm__(".symver exp, exp@GLIBC_2.2.5");
__asm__(".symver log, log@GLIBC_2.2.5");
#endif

// Into the function around, whose instruction set it then is compiled for.
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER __attribute__((always_inline)) inline

template <class To, class From> INLINE To bits(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From), "bits");
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

// Choosing by masks: from ?: on floats gcc makes branches, turns them into masks again when it vectorises, and computes
// what follows once for each way through them.
INLINE float choose(bool condition, float yes, float no) {
  int32_t mask = -int32_t(condition);
  return bits<float>((bits<int32_t>(yes) & mask) | (bits<int32_t>(no) & ~mask));
}
INLINE double choose(bool condition, double yes, double no) { return condition ? yes : no; }

// --- Elementary functions. The coefficients of exp and log are those of Cephes (S. L. Moshier), expf.c and logf.c; the
// polynomials are evaluated by pairs, for the loops wait more for results than for arithmetic units.

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
