// The asymmetric loss (Eq. 7) and its gradient (Eq. 8) in one pass over the logits, behind a C function for ctypes.
//
// A block of logits is copied into a buffer. The few entries that are not plain negatives (positives, soft labels) are
// moved from it into a list, and ignored ones dropped; a logit of -inf takes their place, whose loss and gradient as a
// negative are exactly 0. What remains is one branch-free loop over the buffer and one over the list, which gcc
// vectorises for the instruction set that the function around them names (README.md).
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int64_t BLOCK = 2048;  // logits; the buffers of a block stay in the first-level cache

enum Dtype : int32_t { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT64, UINT8 };

struct Job {
  const void *pred, *target;
  int32_t pred_dtype, target_dtype, class_index, detach_focus;
  int64_t rows, columns;
  const void *row_weight, *element_weight, *class_weight, *upstream;  // float64 iff pred is, else float32; or null
  double gamma_pos, gamma_neg, clip, margin_hi, margin_lo, weight_pos, weight_neg, scale;
  void *loss, *grad;  // element-wise loss and gradient, or null
};

struct Tally {
  double sum;
  int64_t ignored, bad;
};

template <class To, class From> INLINE To bits(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From), "bits");
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

// --- Elementary functions. The coefficients of exp and log are those of Cephes (S. L. Moshier), expf.c and logf.c.

INLINE float exp_(float x) {  // x <= 0; 0 below the smallest normal number
  float clamped = x > -87.0f ? x : -87.0f;
  float shifted = clamped * 1.44269504f + 12582912.0f;  // the integer nearest to x / ln 2, in the low bits
  float n = shifted - 12582912.0f;
  float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  float power = bits<float>(bits<int32_t>(y) + (bits<int32_t>(shifted) << 23));
  return x > -87.0f ? power : 0.0f;
}
INLINE double exp_(double x) { return std::exp(x); }

INLINE float log1p_core(float x) {  // log(1 + x) - x for 1 + x in [sqrt(1/2), sqrt(2)]
  float y = 7.0376836292e-2f;
  y = y * x - 1.1514610310e-1f;
  y = y * x + 1.1676998740e-1f;
  y = y * x - 1.2420140846e-1f;
  y = y * x + 1.4249322787e-1f;
  y = y * x - 1.6668057665e-1f;
  y = y * x + 2.0000714765e-1f;
  y = y * x - 2.4999993993e-1f;
  y = y * x + 3.3333331174e-1f;
  return x * x * (y * x - 0.5f);
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
  float f = high ? 0.5f * x - 0.5f : x;
  return f + log1p_core(f) + (high ? 0.693147181f : 0.0f);
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
  return d < 0.7f ? d * series : 1.0f - exp_(-d);
}
INLINE double one_minus_exp(double d) { return -std::expm1(-d); }

template <class T> INLINE T power(T x, T gamma) {  // x in [0, 1]
  constexpr T tiny = std::numeric_limits<T>::min();
  return exp_(gamma * log_(x > tiny ? x : tiny));
}

// GAMMA: a small whole exponent, or -1 for any other.
template <int GAMMA, class T> INLINE T focus(T x, T gamma) {
  if constexpr (GAMMA == 0) return T(1);
  if constexpr (GAMMA == 1) return x;
  if constexpr (GAMMA == 2) return x * x;
  if constexpr (GAMMA == 3) return x * x * x;
  if constexpr (GAMMA == 4) return (x * x) * (x * x);
  return power(x, gamma);
}

// --- The two sides of the loss.

template <class T> struct Constants {
  T gamma_pos, gamma_neg, slope_pos, slope_neg;  // slope_*: the exponent, 0 where the focus is not differentiated
  T clip, margin_hi, margin_lo, weight_pos, weight_neg;
  explicit Constants(const Job &job)
      : gamma_pos(T(job.gamma_pos)), gamma_neg(T(job.gamma_neg)), slope_pos(T(job.detach_focus ? 0 : job.gamma_pos)),
        slope_neg(T(job.detach_focus ? 0 : job.gamma_neg)), clip(T(job.clip)), margin_hi(T(job.margin_hi)),
        margin_lo(T(job.margin_lo)), weight_pos(T(job.weight_pos)), weight_neg(T(job.weight_neg)) {}
};

template <class T> struct Sigmoid {
  T e, p, q;  // exp(-|z|), sigmoid(z), sigmoid(-z), each with full relative precision
};
template <class T> INLINE Sigmoid<T> sigmoid(T z) {
  T e = exp_(-(z < 0 ? -z : z));
  T r = 1 / (1 + e), s = e * r;
  return {e, z < 0 ? s : r, z < 0 ? r : s};
}

template <int GAMMA, bool MARGIN, class T>
INLINE void negative(T z, Sigmoid<T> at, const Constants<T> &c, T &loss, T &slope) {
  if constexpr (!MARGIN) {
    T log_loss = (z > 0 ? z : 0) + log1p_unit(at.e), w = c.weight_neg * focus<GAMMA>(at.p, c.gamma_neg);
    loss = w * log_loss;
    slope = w * (at.p + c.slope_neg * (at.q * log_loss));
    return;
  }
  T distance = (z - c.margin_hi) - c.margin_lo;
  T u = at.q + c.clip, v = 1 - u;  // u = 1 - p_m keeps its digits near p = 1
  T p_m, ratio, inverse;           // ratio = -log(1 - p_m) / p_m, taken at the rounded u, where v is exact (Kahan)
  if constexpr (GAMMA >= 0) {
    constexpr T half_ulp = std::numeric_limits<T>::epsilon() / 4;
    v = v > half_ulp ? v : half_ulp;
    p_m = at.p - c.clip;
    p_m = p_m > 0 ? p_m : 0;
    T both = 1 / (u * v);
    inverse = v * both;
    ratio = -log_(u) * (u * both);
  } else {  // next to the margin p - m loses digits that an exponent below 1 makes visible
    p_m = (1 - c.clip) * at.p * one_minus_exp(distance > 0 ? distance : 1);
    inverse = 1 / u;
    ratio = v > 0 ? -log_(u) / v : T(1);
  }
  bool active = distance > 0;
  T w = c.weight_neg * focus<GAMMA>(p_m, c.gamma_neg);
  loss = active ? w * (ratio * p_m) : 0;
  slope = active ? w * (at.p * at.q) * (inverse + c.slope_neg * ratio) : 0;
}

template <class T> INLINE void positive(T z, Sigmoid<T> at, const Constants<T> &c, T &loss, T &slope) {
  T log_loss = (z < 0 ? -z : 0) + log1p_unit(at.e);
  T w = c.weight_pos * (c.gamma_pos == 0 ? T(1) : power(at.q, c.gamma_pos));
  loss = w * log_loss;
  slope = -w * (at.q + c.slope_pos * (at.p * log_loss));
}

// --- The loops.

template <int GAMMA, bool MARGIN, bool GRAD, class T>
INLINE void negatives(const T *z, T *loss, T *slope, int n, const Constants<T> &c) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l, s;
    negative<GAMMA, MARGIN>(z[i], sigmoid(z[i]), c, l, s);
    loss[i] = l;
    if (GRAD) slope[i] = s;
  }
}

template <bool MARGIN, class T>
INLINE void mixed(const T *z, const T *y, T *loss, T *slope, int n, const Constants<T> &c) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l_pos, s_pos, l_neg, s_neg;
    Sigmoid<T> at = sigmoid(z[i]);
    positive(z[i], at, c, l_pos, s_pos);
    negative<-1, MARGIN>(z[i], at, c, l_neg, s_neg);
    loss[i] = y[i] * l_pos + (1 - y[i]) * l_neg;
    slope[i] = y[i] * s_pos + (1 - y[i]) * s_neg;
  }
}

template <bool MARGIN, bool GRAD, class T>
INLINE void negatives_of_any_exponent(const T *z, T *loss, T *slope, int n, const Constants<T> &c) {
  if (c.gamma_neg == 0) return negatives<0, MARGIN, GRAD>(z, loss, slope, n, c);
  if (c.gamma_neg == 1) return negatives<1, MARGIN, GRAD>(z, loss, slope, n, c);
  if (c.gamma_neg == 2) return negatives<2, MARGIN, GRAD>(z, loss, slope, n, c);
  if (c.gamma_neg == 3) return negatives<3, MARGIN, GRAD>(z, loss, slope, n, c);
  if (c.gamma_neg == 4) return negatives<4, MARGIN, GRAD>(z, loss, slope, n, c);
  negatives<-1, MARGIN, GRAD>(z, loss, slope, n, c);
}

// --- Half precision. Both ways go through integers, which every instruction set vectorises.

INLINE float widen(uint16_t x, bool brain) {
  if (brain) return bits<float>(uint32_t(x) << 16);
  uint32_t magnitude = uint32_t(x & 0x7fff) << 13, sign = uint32_t(x & 0x8000) << 16;
  float scaled = bits<float>(magnitude) * 0x1p112f;  // exact, subnormals included
  uint32_t wide = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : bits<uint32_t>(scaled);
  return bits<float>(wide | sign);
}

INLINE uint16_t narrow(float x, bool brain) {  // to nearest, ties to even
  uint32_t b = bits<uint32_t>(x), sign = b >> 16 & 0x8000, magnitude = b & 0x7fffffff;
  if (brain) {
    uint32_t rounded = (b + 0x7fff + (b >> 16 & 1)) >> 16;
    return uint16_t(magnitude > 0x7f800000 ? 0x7fff : rounded);
  }
  // Subnormals: adding a number whose unit in the last place is theirs makes the addition round.
  uint32_t small = bits<uint32_t>(bits<float>(magnitude) + 0.5f) - 0x3f000000;
  uint32_t normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  uint32_t half = magnitude < 0x38800000 ? small : normal;
  half = magnitude >= 0x477ff000 ? 0x7c00 : half;
  half = magnitude > 0x7f800000 ? 0x7fff : half;
  return uint16_t(half | sign);
}

template <class T> INLINE void load(const void *source, int32_t dtype, int64_t first, int n, T *z) {
  if (dtype == FLOAT32 || dtype == FLOAT64) {
    std::memcpy(z, static_cast<const T *>(source) + first, n * sizeof(T));
    return;
  }
  const uint16_t *half = static_cast<const uint16_t *>(source) + first;
  bool brain = dtype == BFLOAT16;
  for (int i = 0; i < n; ++i) z[i] = T(widen(half[i], brain));
}

// --- One block.

template <class T> struct Special {  // the entries of a block that are not plain negatives
  int count = 0;
  int at[BLOCK];
  T z[BLOCK], y[BLOCK], loss[BLOCK], slope[BLOCK];
};

template <class T> INLINE void take(Special<T> &special, T *z, int at, T y, Tally &tally) {
  if (y == -1) {
    tally.ignored += 1;
  } else {
    tally.bad += !(y > 0 && y <= 1);
    special.at[special.count] = at;
    special.y[special.count] = y;
    special.z[special.count++] = z[at];
  }
  z[at] = -std::numeric_limits<T>::infinity();
}

template <class Y, class T> INLINE void split_dense(const Y *y, T *z, int n, Special<T> &special, Tally &tally) {
  alignas(64) uint8_t nonzero[BLOCK];
  for (int i = 0; i < n; ++i) nonzero[i] = y[i] != 0;
  std::memset(nonzero + n, 0, BLOCK - n < 8 ? BLOCK - n : 8);
  for (int start = 0; start < n; start += 8) {
    uint64_t flags = bits<uint64_t>(*reinterpret_cast<const uint64_t *>(nonzero + start));
    for (; flags; flags &= flags - 1) {
      int at = start + __builtin_ctzll(flags) / 8;
      take(special, z, at, T(y[at]), tally);
    }
  }
}

template <class T>
INLINE void split_by_class(const int64_t *label, T *z, int64_t first, int n, int64_t columns, Special<T> &special,
                           Tally &tally) {
  for (int64_t row = first / columns; row * columns < first + n; ++row) {
    int64_t start = row * columns - first, own = start + label[row];
    if (label[row] == -1) {
      int64_t from = start < 0 ? 0 : start, to = start + columns < n ? start + columns : n;
      for (int64_t i = from; i < to; ++i) z[i] = -std::numeric_limits<T>::infinity();
      tally.ignored += to - from;
    } else if (label[row] < -1 || label[row] > columns) {
      tally.bad += 1;
    } else if (label[row] < columns && own >= 0 && own < n) {
      take(special, z, int(own), T(1), tally);
    }
  }
}

template <class T> INLINE void block_factors(const Job &job, int64_t first, int n, T *factor) {
  const T *row = static_cast<const T *>(job.row_weight), *element = static_cast<const T *>(job.element_weight);
  const T *column = static_cast<const T *>(job.class_weight);
  for (int64_t i = 0; i < n;) {
    int64_t at = first + i, r = at / job.columns, c = at % job.columns;
    int64_t end = i + (job.columns - c) < n ? i + (job.columns - c) : n;
    T weight = row ? row[r] : T(1);
    for (int64_t k = i; k < end; ++k) factor[k] = column ? weight * column[c + k - i] : weight;
    i = end;
  }
  if (element)
    for (int i = 0; i < n; ++i) factor[i] *= element[first + i];
}

template <class T> INLINE void run_block(const Job &job, int64_t first, int n, Tally &tally) {
  const Constants<T> c(job);
  alignas(64) T z[BLOCK], loss[BLOCK], slope[BLOCK], factor[BLOCK];
  Special<T> special;
  load(job.pred, job.pred_dtype, first, n, z);
  if (job.class_index)
    split_by_class(static_cast<const int64_t *>(job.target), z, first, n, job.columns, special, tally);
  else if (job.target_dtype == FLOAT32)
    split_dense(static_cast<const float *>(job.target) + first, z, n, special, tally);
  else if (job.target_dtype == FLOAT64)
    split_dense(static_cast<const double *>(job.target) + first, z, n, special, tally);
  else if (job.target_dtype == INT64)
    split_dense(static_cast<const int64_t *>(job.target) + first, z, n, special, tally);
  else
    split_dense(static_cast<const uint8_t *>(job.target) + first, z, n, special, tally);

  bool margin = job.clip > 0;
  if (job.grad)
    margin ? negatives_of_any_exponent<true, true>(z, loss, slope, n, c)
           : negatives_of_any_exponent<false, true>(z, loss, slope, n, c);
  else
    margin ? negatives_of_any_exponent<true, false>(z, loss, slope, n, c)
           : negatives_of_any_exponent<false, false>(z, loss, slope, n, c);
  margin ? mixed<true>(special.z, special.y, special.loss, special.slope, special.count, c)
         : mixed<false>(special.z, special.y, special.loss, special.slope, special.count, c);
  for (int i = 0; i < special.count; ++i) {
    loss[special.at[i]] = special.loss[i];
    slope[special.at[i]] = special.slope[i];
  }

  bool weighted = job.row_weight || job.element_weight || job.class_weight;
  if (weighted) block_factors(job, first, n, factor);
  double sum = 0;
  if (weighted) {
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += double(loss[i]) * double(factor[i]);
  } else {
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += double(loss[i]);
  }
  tally.sum = sum;
  if (job.loss) {
    T *out = static_cast<T *>(job.loss) + first;
    for (int i = 0; i < n; ++i) out[i] = weighted ? loss[i] * factor[i] : loss[i];
  }
  if (!job.grad) return;
  T scale = T(job.scale);
  if (weighted)
    for (int i = 0; i < n; ++i) slope[i] *= factor[i];
  if (job.upstream)
    for (int i = 0; i < n; ++i) slope[i] *= static_cast<const T *>(job.upstream)[first + i];
  if (job.pred_dtype == FLOAT32 || job.pred_dtype == FLOAT64) {
    T *out = static_cast<T *>(job.grad) + first;
    for (int i = 0; i < n; ++i) out[i] = slope[i] * scale;
  } else {
    uint16_t *out = static_cast<uint16_t *>(job.grad) + first;
    bool brain = job.pred_dtype == BFLOAT16;
    for (int i = 0; i < n; ++i) out[i] = narrow(float(slope[i] * scale), brain);
  }
}

INLINE void run_any_block(const Job &job, int64_t block, Tally &tally) {
  int64_t first = block * BLOCK, left = job.rows * job.columns - first;
  int n = int(left < BLOCK ? left : BLOCK);
  if (job.pred_dtype == FLOAT64)
    run_block<double>(job, first, n, tally);
  else
    run_block<float>(job, first, n, tally);
}

// --- The same code for each instruction set; the widest that the processor has is chosen when the library is loaded.

using Run = void (*)(const Job &, int64_t, Tally &);

void run_baseline(const Job &job, int64_t block, Tally &tally) { run_any_block(job, block, tally); }
#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void run_avx2(const Job &job, int64_t block, Tally &tally) {
  run_any_block(job, block, tally);
}
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")))
void run_avx512(const Job &job, int64_t block, Tally &tally) {
  run_any_block(job, block, tally);
}
#endif

int best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

}  // namespace

extern "C" {

// 0 baseline, 1 AVX2, 2 AVX-512.
int mmasl_level() {
  static const int level = best_level();
  return level;
}

// Returns how many targets are out of range; `sum` (in float64, before `scale`) and `ignored` are written.
int64_t mmasl_asymmetric_loss(const Job *job, int threads, int level, double *sum, int64_t *ignored) {
  Run run = run_baseline;
#if defined(__x86_64__)
  if (level == 1) run = run_avx2;
  if (level == 2) run = run_avx512;
#endif
  int64_t blocks = (job->rows * job->columns + BLOCK - 1) / BLOCK;
  std::vector<Tally> tallies(blocks, Tally{0, 0, 0});
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t block = 0; block < blocks; ++block) run(*job, block, tallies[block]);
  Tally total{0, 0, 0};
  for (const Tally &tally : tallies) {  // in the order of the blocks: the same bits for any number of threads
    total.sum += tally.sum;
    total.ignored += tally.ignored;
    total.bad += tally.bad;
  }
  *sum = total.sum;
  *ignored = total.ignored;
  return total.bad;
}
}
