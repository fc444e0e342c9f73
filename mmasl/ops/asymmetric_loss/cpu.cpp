// The asymmetric loss (Eq. 7) and its gradient (Eq. 8) in one pass over the logits, behind a C function for ctypes.
//
// A block of logits is copied into a buffer. The few entries that are not plain negatives (positives, soft labels) are
// moved from it into a list, and ignored ones dropped; the lowest logit takes their place, whose loss and gradient as
// a negative are exactly 0. What remains is one branch-free loop over the buffer and one over the list, which gcc
// vectorises for the instruction set that the function around them names (README.md).
#include "cpu_math.h"

#include <vector>

namespace {

constexpr int64_t BLOCK = 2048;  // logits; the buffers of a block stay in the first-level cache

enum Dtype : int { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT64, UINT8 };

struct Equation {  // the constants of Eq. 7
  double gamma_pos, gamma_neg, clip, margin_hi, margin_lo, weight_pos, weight_neg, detach_focus;
};

struct Job {
  Equation equation;
  const void *pred, *target;
  int pred_dtype, target_dtype, class_index;
  int64_t rows, columns;
  const void *row_weight, *element_weight, *class_weight, *upstream;  // float64 iff pred is, else float32; or null
  double scale;
  void *loss, *grad;  // element-wise, or null
};

struct Tally {
  double sum;
  int64_t ignored, bad;
};

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
  explicit Constants(const Equation &e)
      : gamma_pos(T(e.gamma_pos)), gamma_neg(T(e.gamma_neg)), slope_pos(T(e.detach_focus ? 0 : e.gamma_pos)),
        slope_neg(T(e.detach_focus ? 0 : e.gamma_neg)), clip(T(e.clip)), margin_hi(T(e.margin_hi)),
        margin_lo(T(e.margin_lo)), weight_pos(T(e.weight_pos)), weight_neg(T(e.weight_neg)) {}
};

// Both sides need quotients of exp(-|z|) alone, so that one division serves an entry:
//   sigmoid(z) = b / d, sigmoid(-z) = a / d, 1 - p_m = (a + m d) / d   with d = 1 + exp(-|z|).
template <class T> struct Terms {
  T size, e, a, b, d;
  __attribute__((always_inline)) explicit Terms(T z)
      : size(std::fabs(z)), e(exp_(-size)), a(choose(z < 0, T(1), e)), b(choose(z < 0, e, T(1))), d(1 + e) {}
};

template <int GAMMA, bool MARGIN, class T>
INLINE void negative(T z, const Terms<T> &at, const Constants<T> &c, T &loss, T &slope) {
  if constexpr (!MARGIN) {
    T r = 1 / at.d, p = at.b * r, q = at.a * r;
    T log_loss = (T(0.5) * at.size + T(0.5) * z) + log1p_unit(at.e), w = c.weight_neg * focus<GAMMA>(p, c.gamma_neg);
    loss = w * log_loss;
    slope = w * (p + c.slope_neg * (q * log_loss));
    return;
  }
  T u_d = at.a + c.clip * at.d, both = 1 / (at.d * u_d);
  T r = u_d * both, inverse_u = at.d * at.d * both, p = at.b * r, q = at.a * r;
  T u = q + c.clip;  // 1 - p_m, which keeps its digits near p = 1
  T distance = (z - c.margin_hi) - c.margin_lo;
  bool active = distance > 0;
  T p_m, log_loss, w, slope_of_focus;  // the last: w * log_loss / p_m
  if constexpr (GAMMA >= 0) {
    p_m = p - c.clip;
    p_m = choose(p_m > 0, p_m, T(0));
    log_loss = -log_(u);
    T below = c.weight_neg * focus<(GAMMA > 0 ? GAMMA - 1 : 0)>(p_m, c.gamma_neg);
    w = GAMMA > 0 ? below * p_m : below;
    slope_of_focus = below * log_loss;
  } else {  // next to the margin p - m loses digits that an exponent below 1 makes visible
    p_m = (1 - c.clip) * p * one_minus_exp(choose(active, distance, T(1)));
    T v = 1 - u, ratio = choose(v > 0, -log_(u) / v, T(1));  // log_loss / p_m at the rounded u, where v is exact (Kahan)
    log_loss = ratio * p_m;
    w = c.weight_neg * power(p_m, c.gamma_neg);
    slope_of_focus = w * ratio;
  }
  loss = choose(active, w * log_loss, T(0));
  slope = choose(active, (p * q) * (w * inverse_u + c.slope_neg * slope_of_focus), T(0));
}

template <bool FOCUS, class T>
INLINE void positive(T z, const Terms<T> &at, const Constants<T> &c, T &loss, T &slope) {
  T r = 1 / at.d, p = at.b * r, q = at.a * r;
  T log_loss = (T(0.5) * at.size - T(0.5) * z) + log1p_unit(at.e);
  T w = FOCUS ? c.weight_pos * power(q, c.gamma_pos) : c.weight_pos;
  loss = w * log_loss;
  slope = -w * (q + c.slope_pos * (p * log_loss));
}

// --- The loops.

template <int GAMMA, bool MARGIN, bool GRAD, class T>
INLINE void negatives(const T *z, T *loss, T *slope, int n, const Constants<T> &c) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l, s;
    negative<GAMMA, MARGIN>(z[i], Terms<T>(z[i]), c, l, s);
    loss[i] = l;
    if (GRAD) slope[i] = s;
  }
}

template <bool FOCUS, class T>
INLINE void positives(const T *z, T *loss, T *slope, int n, const Constants<T> &c) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l, s;
    positive<FOCUS>(z[i], Terms<T>(z[i]), c, l, s);
    loss[i] = l;
    slope[i] = s;
  }
}

template <bool MARGIN, class T>
INLINE void mixed(const T *z, const T *y, T *loss, T *slope, int n, const Constants<T> &c) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l_pos, s_pos, l_neg, s_neg;
    Terms<T> at(z[i]);
    positive<true>(z[i], at, c, l_pos, s_pos);
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

template <class T> INLINE void load(const void *source, int dtype, int64_t first, int n, T *z) {
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
  bool soft = false;  // whether one of them has a label other than 1
  int at[BLOCK];
  T z[BLOCK], y[BLOCK], loss[BLOCK], slope[BLOCK];
};

template <class T> INLINE void take(Special<T> &special, T *z, int at, T y, Tally &tally) {
  if (y == -1) {
    tally.ignored += 1;
  } else {
    tally.bad += !(y > 0 && y <= 1);
    special.soft |= y != 1;
    special.at[special.count] = at;
    special.y[special.count] = y;
    special.z[special.count++] = z[at];
  }
  z[at] = std::numeric_limits<T>::lowest();
}

template <class Y, class T> INLINE void split_dense(const Y *y, T *z, int n, Special<T> &special, Tally &tally) {
  alignas(64) uint8_t nonzero[BLOCK];
  for (int i = 0; i < n; ++i) nonzero[i] = y[i] != 0;
  std::memset(nonzero + n, 0, BLOCK - n);
  for (int start = 0; start < n; start += 64) {
    uint64_t flags = 0;  // one bit an entry: eight bytes of 0 or 1 are gathered by one multiplication
    for (int k = 0; k < 8; ++k) {
      uint64_t bytes;
      std::memcpy(&bytes, nonzero + start + 8 * k, 8);
      flags |= (bytes * 0x0102040810204080) >> 56 << (8 * k);
    }
    for (; flags; flags &= flags - 1) {
      int at = start + __builtin_ctzll(flags);
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
      for (int64_t i = from; i < to; ++i) z[i] = std::numeric_limits<T>::lowest();
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

// Four sums at a time, for a single one waits for each addition to end.
template <bool WEIGHTED, class T> INLINE double sum_in_double(const T *loss, const T *factor, int n) {
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  int m = n / 4;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int i = 0; i < m; ++i) {
    s0 += WEIGHTED ? double(loss[i]) * double(factor[i]) : double(loss[i]);
    s1 += WEIGHTED ? double(loss[m + i]) * double(factor[m + i]) : double(loss[m + i]);
    s2 += WEIGHTED ? double(loss[2 * m + i]) * double(factor[2 * m + i]) : double(loss[2 * m + i]);
    s3 += WEIGHTED ? double(loss[3 * m + i]) * double(factor[3 * m + i]) : double(loss[3 * m + i]);
  }
  for (int i = 4 * m; i < n; ++i) s0 += WEIGHTED ? double(loss[i]) * double(factor[i]) : double(loss[i]);
  return (s0 + s1) + (s2 + s3);
}

template <class T> INLINE void run_block(const Job &job, int64_t first, int n, Tally &tally) {
  const Constants<T> c(job.equation);
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

  bool margin = c.clip > 0;
  if (job.grad)
    margin ? negatives_of_any_exponent<true, true>(z, loss, slope, n, c)
           : negatives_of_any_exponent<false, true>(z, loss, slope, n, c);
  else
    margin ? negatives_of_any_exponent<true, false>(z, loss, slope, n, c)
           : negatives_of_any_exponent<false, false>(z, loss, slope, n, c);
  if (special.soft)
    margin ? mixed<true>(special.z, special.y, special.loss, special.slope, special.count, c)
           : mixed<false>(special.z, special.y, special.loss, special.slope, special.count, c);
  else
    c.gamma_pos > 0 ? positives<true>(special.z, special.loss, special.slope, special.count, c)
                    : positives<false>(special.z, special.loss, special.slope, special.count, c);
  for (int i = 0; i < special.count; ++i) {
    loss[special.at[i]] = special.loss[i];
    slope[special.at[i]] = special.slope[i];
  }

  bool weighted = job.row_weight || job.element_weight || job.class_weight;
  if (weighted) block_factors(job, first, n, factor);
  tally.sum = weighted ? sum_in_double<true>(loss, factor, n) : sum_in_double<false>(loss, factor, n);
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

void rescale(int dtype, void *grad, int64_t size, double ratio) {
  for (int64_t i = 0; grad && dtype == FLOAT32 && i < size; ++i) static_cast<float *>(grad)[i] *= float(ratio);
  for (int64_t i = 0; grad && dtype == FLOAT64 && i < size; ++i) static_cast<double *>(grad)[i] *= ratio;
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

// Writes the scaled sum to `sum` (of the dtype that is computed in) unless that is null, the loss of each entry to
// `loss` and the gradient to `grad` unless null. A negative `scale` stands for one over the labels that are not ignored.
// Returns how many targets are out of range.
int64_t mmasl_asymmetric_loss(const Equation *equation, const void *pred, int pred_dtype, const void *target,
                              int target_dtype, int class_index, int64_t rows, int64_t columns, const void *row_weight,
                              const void *element_weight, const void *class_weight, const void *upstream, double scale,
                              void *sum, void *loss, void *grad, int threads, int level) {
  Run run = run_baseline;
#if defined(__x86_64__)
  if (level == 1) run = run_avx2;
  if (level == 2) run = run_avx512;
#endif
  const int64_t size = rows * columns;
  const bool mean = scale < 0;
  if (mean) scale = 1.0 / double(size > 0 ? size : 1);
  const Job job{*equation,  pred,           target,       pred_dtype, target_dtype, class_index, rows, columns,
                row_weight, element_weight, class_weight, upstream,   scale,        loss,        grad};
  int64_t blocks = (size + BLOCK - 1) / BLOCK;
  std::vector<Tally> tallies(blocks, Tally{0, 0, 0});
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t block = 0; block < blocks; ++block) run(job, block, tallies[block]);
  Tally total{0, 0, 0};
  for (const Tally &tally : tallies) {  // in the order of the blocks: the same bits for any number of threads
    total.sum += tally.sum;
    total.ignored += tally.ignored;
    total.bad += tally.bad;
  }
  if (mean && total.ignored) {  // how many labels there are is known only now
    const double labelled = double(size > total.ignored ? size - total.ignored : 1);
    rescale(pred_dtype, grad, size, double(size) / labelled);
    scale = 1.0 / labelled;
  }
  if (sum && pred_dtype == FLOAT64) *static_cast<double *>(sum) = total.sum * scale;
  if (sum && pred_dtype != FLOAT64) *static_cast<float *>(sum) = float(total.sum * scale);
  return total.bad;
}
}
