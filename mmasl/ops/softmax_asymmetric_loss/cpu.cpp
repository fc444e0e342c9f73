// The single-label asymmetric loss and its gradient row by row, behind a C function for ctypes (README.md derives them).
//
// A row is read three or four times while it lies in a cache: for its largest logit; for the exponentials and their sum;
// with label smoothing, for the terms of all classes and the sum of their slopes; and for the gradient. Each loop is
// branch-free, and gcc vectorises it for each instruction set.
#include "../simd.h"

#include <vector>

namespace {

struct Job {  // what cpu.py packs, with eight bytes for each member
  double gamma_pos, gamma_neg, own, other, detach_focus;  // own, other: a and b of README.md
  const void *pred, *target;
  int64_t pred_dtype, target_dtype, class_index, ignore_index, rows, columns;
  const void *weight, *class_weight;  // (rows) and (columns), float64 iff pred is, else float32; or null
  double scale;              // below 0: take one over the number of rows that are not ignored
  void *sum, *loss, *slope;  // the scaled sum, or the loss of each row; the derivatives; float64 iff pred is; or null
  int64_t threads, level;
};

struct Tally {  // of a row
  double loss;
  bool ignored, bad;
};

constexpr int64_t CHUNK = 1024;     // so many entries are summed in T, and these sums in double
constexpr double UNIT = CHUNK;  // of a sum of CHUNK losses: 1,024 losses of 3e38 do not overflow, and small ones stay normal
constexpr double ROW_SUM_ERROR = 1e-2;  // as in reference.py

template <class T> constexpr T LARGEST = std::numeric_limits<T>::max();

template <class T> INLINE T distance(T z, T highest) {  // z - highest, but at least a bound 16 ulps from the overflow
  constexpr T lowest = -LARGEST<T> * (1 - 16 * std::numeric_limits<T>::epsilon());
  T d = choose(z > -LARGEST<T>, z, -LARGEST<T>) - highest;
  return choose(d > lowest, d, lowest);
}

// GAMMA is a small whole exponent, or -1 for any other exponent.
template <int GAMMA, class T> INLINE T power_of(T p, T log_p, T gamma) {
  if constexpr (GAMMA == 0) return T(1);
  if constexpr (GAMMA == 1) return p;
  if constexpr (GAMMA == 2) return p * p;
  if constexpr (GAMMA == 4) return (p * p) * (p * p);
  return exp_(choose(gamma * log_p < 0, gamma * log_p, T(0)));
}

template <class T> struct Row {
  const T *z;      // logits
  T *e;            // exp(z - highest)
  int64_t n;
  T highest, log_sum, inverse, q_peak;  // log and reciprocal of the sum of e; 1 - p of the largest p

  INLINE_MEMBER T q(T at) const { return choose(at == 1, q_peak, 1 - at * inverse); }  // 1 - p where e is `at`
};

template <class T> INLINE void softmax(Row<T> &row) {
  T highest = -LARGEST<T>;
#pragma omp simd reduction(max : highest)
  for (int64_t i = 0; i < row.n; ++i) highest = row.z[i] > highest ? row.z[i] : highest;
  double others = 0, ties = -1;  // the sum leaves out one of the largest, so that 1 - p of a confident row keeps its digits
  for (int64_t start = 0; start < row.n; start += CHUNK) {
    int64_t end = start + CHUNK < row.n ? start + CHUNK : row.n;
    T sum = 0, highest_ones = 0;
#pragma omp simd reduction(+ : sum, highest_ones)
    for (int64_t i = start; i < end; ++i) {
      T d = distance(row.z[i], highest), e = exp_(d);
      row.e[i] = e;
      sum += choose(d == 0, T(0), e) + choose(row.z[i] == row.z[i], T(0), std::numeric_limits<T>::quiet_NaN());
      highest_ones += choose(d == 0, T(1), T(0));
    }
    others += double(sum);
    ties += double(highest_ones);
  }
  double rest = ties + others;
  row.highest = highest;
  row.log_sum = T(std::log1p(rest));
  row.inverse = T(1 / (1 + rest));
  row.q_peak = T(rest / (1 + rest));
}

// Factor times (1 - p)^gamma_pos * (-log p), and its derivative by log p.
template <class T> INLINE void labelled(const Job &job, T log_p, T p, T q, T factor, T &value, T &slope) {
  T gamma = T(job.gamma_pos), focus = gamma == 0 ? factor : factor * power(q, gamma);
  T ratio = choose(q > 0, -log_p / choose(q > 0, q, T(1)), T(1));
  value = focus * -log_p;
  // The inner product comes first, because the ratio may be 3e38 where p is 0.
  slope = -focus * (job.detach_focus ? T(1) : 1 + gamma * (p * ratio));
}

struct Sums {
  double value = 0, slope = 0;
};

// Computes the negative side of all classes of a row but `label`, and for DENSE labels the positive side too.
template <int GAMMA, bool DENSE, bool WEIGHTED, class T, class Y>
INLINE Sums classes(const Job &job, const Row<T> &row, const Y *y, int64_t label, T *slope) {
  const T gamma = T(job.gamma_neg), slope_gamma = job.detach_focus ? T(0) : gamma, own = T(job.own), other = T(job.other);
  Sums sums;
  for (int64_t start = 0; start < row.n; start += CHUNK) {
    const int count = int(start + CHUNK < row.n ? CHUNK : row.n - start);
    const int own_at = label >= start && label < start + count ? int(label - start) : -1;  // in 32 bits, as wide as a float
    const T *z = row.z + start, *e = row.e + start;
    const T *weight = WEIGHTED ? static_cast<const T *>(job.class_weight) + start : z;  // not read without weights
    T *out = slope + start, value_sum = 0, slope_sum = 0;
#pragma omp simd reduction(+ : value_sum, slope_sum)
    for (int i = 0; i < count; ++i) {
      T log_p = distance(z[i], row.highest) - row.log_sum, p = e[i] * row.inverse;
      T focus = other * power_of<GAMMA>(p, log_p, gamma);
      T value = focus * -log_p, g = slope_gamma * value - focus;
      if (DENSE) {
        T hit = T(y[start + i]), positive_value, positive_slope;
        labelled(job, log_p, p, row.q(e[i]), own, positive_value, positive_slope);
        value = hit * positive_value + (1 - hit) * value;
        g = hit * positive_slope + (1 - hit) * g;
      } else {
        value = choose(i == own_at, T(0), value);
        g = choose(i == own_at, T(0), g);
      }
      T w = WEIGHTED ? weight[i] : T(1);
      out[i] = g * w;
      value_sum += value * w * T(1 / UNIT);
      slope_sum += g * w;
    }
    sums.value += double(value_sum) * UNIT;
    sums.slope += double(slope_sum);
  }
  return sums;
}

template <bool WEIGHTED, class T> INLINE Sums other_classes(const Job &job, const Row<T> &row, int64_t label, T *slope) {
  const T *no_labels = nullptr;
  if (job.gamma_neg == 0) return classes<0, false, WEIGHTED>(job, row, no_labels, label, slope);
  if (job.gamma_neg == 1) return classes<1, false, WEIGHTED>(job, row, no_labels, label, slope);
  if (job.gamma_neg == 2) return classes<2, false, WEIGHTED>(job, row, no_labels, label, slope);
  if (job.gamma_neg == 4) return classes<4, false, WEIGHTED>(job, row, no_labels, label, slope);
  return classes<-1, false, WEIGHTED>(job, row, no_labels, label, slope);
}

template <class T> INLINE void gradient(const Row<T> &row, T *slope, T total, T factor) {
#pragma omp simd
  for (int64_t i = 0; i < row.n; ++i) {
    T p = row.e[i] * row.inverse;
    slope[i] = (slope[i] * row.q(row.e[i]) - p * (total - slope[i])) * factor;
  }
}

// Returns the loss of a row; `slope` becomes its gradient times `factor`. Without smoothing one column is enough.
template <class T> INLINE double row_of_index(const Job &job, Row<T> &row, int64_t label, T *slope, T factor) {
  softmax(row);
  T log_p = distance(row.z[label], row.highest) - row.log_sum, p = row.e[label] * row.inverse;
  T q = row.q(row.e[label]), value, g;
  labelled(job, log_p, p, q, T(job.own), value, g);
  const T weight = job.class_weight ? static_cast<const T *>(job.class_weight)[label] : T(1);
  const double loss = double(value) * double(weight);
  g *= weight;
  if (job.other != 0) {
    Sums sums = job.class_weight ? other_classes<true>(job, row, label, slope)
                                 : other_classes<false>(job, row, label, slope);
    slope[label] = g;
    if (job.slope) gradient(row, slope, T(sums.slope + double(g)), factor);
    return sums.value + loss;
  }
  if (job.slope) {
    T all = -g * factor * row.inverse;
#pragma omp simd
    for (int64_t i = 0; i < row.n; ++i) slope[i] = row.e[i] * all;
    slope[label] = g * q * factor;
  }
  return loss;
}

template <class T, class Y> INLINE double row_of_scores(const Job &job, Row<T> &row, const Y *y, T *slope, T factor) {
  softmax(row);
  Sums sums = job.class_weight ? classes<-1, true, true>(job, row, y, -1, slope)
                               : classes<-1, true, false>(job, row, y, -1, slope);
  if (job.slope) gradient(row, slope, T(sums.slope), factor);
  return sums.value;
}

template <class Y> INLINE Tally judge(const Y *y, int64_t n) {
  double sum = 0;
  int64_t ignored = 0, bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    ignored += y[i] == Y(-1);
    bad += !(y[i] >= 0 && y[i] <= 1);
    sum += double(y[i]);
  }
  if (ignored) return {0, true, ignored != n};
  return {0, false, bad || !(std::fabs(sum - 1) <= ROW_SUM_ERROR)};
}

INLINE Tally judge_row(const Job &job, int64_t r) {
  int64_t n = job.columns, first = r * n;
  if (job.class_index) {
    int64_t label = static_cast<const int64_t *>(job.target)[r];
    bool ignored = label == job.ignore_index;
    return {0, ignored, !ignored && (label < 0 || label >= n)};
  }
  if (job.target_dtype == FLOAT32) return judge(static_cast<const float *>(job.target) + first, n);
  if (job.target_dtype == FLOAT64) return judge(static_cast<const double *>(job.target) + first, n);
  if (job.target_dtype == INT64) return judge(static_cast<const int64_t *>(job.target) + first, n);
  Tally tally = judge(static_cast<const uint8_t *>(job.target) + first, n);
  return {0, false, tally.bad || tally.ignored};  // uint8 has no -1
}

template <class T> INLINE void run_row(const Job &job, int64_t r, T *buffer, Tally &tally) {
  const int64_t n = job.columns, first = r * n;
  const bool direct = job.pred_dtype == FLOAT32 || job.pred_dtype == FLOAT64;
  T *out = job.slope ? static_cast<T *>(job.slope) + first : buffer, *e = buffer + n;
  tally = judge_row(job, r);
  T weight = job.weight ? static_cast<const T *>(job.weight)[r] : T(1);
  if (tally.ignored) {
    for (int64_t i = 0; job.slope && i < n; ++i) out[i] = 0;
  } else {
    const T *z = direct ? static_cast<const T *>(job.pred) + first : buffer + 2 * n;
    if (!direct) load(job.pred, job.pred_dtype, first, n, buffer + 2 * n);
    Row<T> row{z, e, n, 0, 0, 0, 0};
    T factor = weight * T(job.scale);
    int64_t label = job.class_index ? static_cast<const int64_t *>(job.target)[r] : 0;
    label = label < 0 ? 0 : label < n ? label : n - 1;
    if (job.class_index)
      tally.loss = row_of_index(job, row, label, out, factor);
    else if (job.target_dtype == FLOAT32)
      tally.loss = row_of_scores(job, row, static_cast<const float *>(job.target) + first, out, factor);
    else if (job.target_dtype == FLOAT64)
      tally.loss = row_of_scores(job, row, static_cast<const double *>(job.target) + first, out, factor);
    else if (job.target_dtype == INT64)
      tally.loss = row_of_scores(job, row, static_cast<const int64_t *>(job.target) + first, out, factor);
    else
      tally.loss = row_of_scores(job, row, static_cast<const uint8_t *>(job.target) + first, out, factor);
    tally.loss *= double(weight);
  }
  if (job.loss) static_cast<T *>(job.loss)[r] = T(tally.loss);
}

using Run = void (*)(const Job &, int64_t, void *, Tally &);
INLINE void run_any_row(const Job &job, int64_t r, void *buffer, Tally &tally) {
  if (job.pred_dtype == FLOAT64)
    run_row<double>(job, r, static_cast<double *>(buffer), tally);
  else
    run_row<float>(job, r, static_cast<float *>(buffer), tally);
}
void run_baseline(const Job &job, int64_t r, void *buffer, Tally &tally) { run_any_row(job, r, buffer, tally); }
FOR_AVX2 void run_avx2(const Job &job, int64_t r, void *buffer, Tally &tally) { run_any_row(job, r, buffer, tally); }
FOR_AVX512 void run_avx512(const Job &job, int64_t r, void *buffer, Tally &tally) {
  run_any_row(job, r, buffer, tally);
}
constexpr Run RUN[] = {run_baseline, run_avx2, run_avx512};

}  // namespace

extern "C" {

const char *mmasl_sources() { return MMASL_SOURCES; }  // the hash that setup.py defines

int mmasl_level() { return best_level(); }

// Fills the outputs that the job names, and returns how many rows have a target out of range.
int64_t mmasl_softmax_asymmetric_loss(const Job *given) {
  Job job = *given;
  const Run run = RUN[job.level];
  std::vector<Tally> tallies(job.rows, Tally{0, false, false});
  if (job.scale < 0) {
    int64_t labelled_rows = 0;
    for (int64_t r = 0; r < job.rows; ++r) labelled_rows += !judge_row(job, r).ignored;
    job.scale = 1.0 / double(labelled_rows > 0 ? labelled_rows : 1);
  }
#pragma omp parallel num_threads(int(job.threads)) if (job.threads > 1)
  {
    std::vector<double> buffer(3 * job.columns * (job.pred_dtype == FLOAT64 ? 8 : 4) / 8 + 1);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < job.rows; ++r) run(job, r, buffer.data(), tallies[r]);
  }
  double sum = 0;
  int64_t bad = 0;
  for (const Tally &tally : tallies) {  // in the order of the rows, for the same bits with any number of threads
    sum += tally.loss;
    bad += tally.bad;
  }
  if (job.sum && job.pred_dtype == FLOAT64) *static_cast<double *>(job.sum) = sum * job.scale;
  if (job.sum && job.pred_dtype != FLOAT64) *static_cast<float *>(job.sum) = float(sum * job.scale);
  return bad;
}
}
