// The asymmetric loss (Eq. 7) and its gradient (Eq. 8) in one pass over the logits, behind a C function for ctypes.
//
// A block of logits is copied into a buffer. The few entries that are not plain negatives (positives and soft labels)
// move from it into a list, and ignored entries are dropped. The lowest logit takes their places, because its loss and
// gradient as a negative are exactly 0. The negatives above the margin move to the front. One branch-free loop then
// processes them, and another one the list; gcc vectorises both for each instruction set (README.md).
#include "equation.h"

#include <type_traits>
#include <vector>

namespace {

struct Job {  // what cpu.py packs, with eight bytes for each member
  Equation equation;
  const void *class_constants;  // (4, columns): the members of OfClass, each for all classes; null if all are alike
  const void *pred, *target;
  int64_t pred_dtype, target_dtype, class_index, rows, columns;
  const void *row_weight, *element_weight, *class_weight;  // float64 iff pred is, else float32; or null
  double scale;              // below 0: take one over the number of labels that are not ignored
  void *sum, *loss, *slope;  // the scaled sum, or the loss of each entry; the derivatives; float64 iff pred is; or null
  int64_t threads, level;
};

// --- Labels: entries that are not plain negatives leave the block, and ignored and impossible labels are counted.

constexpr int64_t BLOCK = 2048;  // logits; the buffers of a block stay in the first-level cache

struct Tally {  // of a block
  double sum;
  int64_t ignored, bad;
};

template <class T> struct Special {  // the entries of a block that are not plain negatives
  int count = 0;
  bool soft = false;  // whether one of them has a label other than 1
  int at[BLOCK];
  T z[BLOCK], y[BLOCK], loss[BLOCK], slope[BLOCK];
};

// If nobody checks what `bad` counts, an integer label above 0 is a positive.
template <class T> INLINE void take(Special<T> &special, T *z, int at, T y, bool integer, Tally &tally) {
  if (y == -1) {
    tally.ignored += 1;
  } else {
    tally.bad += !(y > 0 && y <= 1);
    if (integer && y > 1) y = 1;
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
    uint64_t flags = 0;  // a bit for each entry: one multiplication gathers eight bytes of 0 or 1
    for (int k = 0; k < 8; ++k) {
      uint64_t bytes;
      std::memcpy(&bytes, nonzero + start + 8 * k, 8);
      flags |= (bytes * 0x0102040810204080) >> 56 << (8 * k);
    }
    for (; flags; flags &= flags - 1) {
      int at = start + __builtin_ctzll(flags);
      take(special, z, at, T(y[at]), std::is_integral<Y>::value, tally);
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
      take(special, z, int(own), T(1), true, tally);
    }
  }
}

// --- Both sides of a block.

template <class T> INLINE void list_positives(Special<T> &list, const Constants<T> &c) {
  c.gamma_pos > 0 ? positives<true>(list.z, list.loss, list.slope, list.count, c)
                  : positives<false>(list.z, list.loss, list.slope, list.count, c);
}

template <class T> INLINE void specials_alike(Special<T> &list, const Constants<T> &c) {
  if (!list.soft) return list_positives(list, c);
  if (c.clip > 0) return mixed(list.z, list.y, list.loss, list.slope, list.count, c, Alike<-1, true, T>{c});
  mixed(list.z, list.y, list.loss, list.slope, list.count, c, Alike<-1, false, T>{c});
}

// Moves the slopes to the places of their logits, and the losses to these places or to the front. Returns how many
// entries of `loss` are to be summed.
template <bool GRAD, class T>
INLINE int unpack(const T *l, const T *s, const int *at, int count, T *loss, T *slope, int n, bool in_place) {
  if (GRAD) spread(s, at, count, slope, n);
  if (in_place)
    spread(l, at, count, loss, n);
  else
    std::memcpy(loss, l, count * sizeof(T));
  return in_place ? n : count;
}

template <class T> INLINE int pad(T *z, int *at, int count) {  // to whole vectors, because the ends of loops are slow
  for (; count % LANES; ++count) z[count] = std::numeric_limits<T>::lowest(), at[count] = 0;
  return count;
}

template <bool GRAD, class T>
INLINE int active_negatives(int64_t level, T *z, T *loss, T *slope, int n, const Constants<T> &c, bool in_place) {
  int at[BLOCK];
  alignas(64) T l[BLOCK], s[BLOCK];
  int count = gather(level, z, n, c.margin_hi, c.margin_lo, at);
  negatives_alike<GRAD, true>(z, l, s, pad(z, at, count), c);
  return unpack<GRAD>(l, s, at, count, loss, slope, n, in_place);
}

template <bool GRAD, class T>
INLINE int all_negatives(int64_t level, T *z, T *loss, T *slope, int n, const Constants<T> &c, bool in_place) {
  if (c.clip > 0) return active_negatives<GRAD>(level, z, loss, slope, n, c, in_place);
  negatives_alike<GRAD, false>(z, loss, slope, n, c);
  return n;
}

// Writes of_class[column] for each entry from `first` on; entry i lies in column i % columns.
template <class T> INLINE void repeat(const T *of_class, int64_t first, int n, int64_t columns, T *out) {
  int64_t column = first % columns;
  for (int i = 0; i < n;) {
    int count = int(columns - column < n - i ? columns - column : n - i);
    for (int k = 0; k < count; ++k) out[i + k] = of_class[column + k];
    i += count;
    column = 0;
  }
}

template <class T>
INLINE int all_by_class(T *z, T *loss, T *slope, int64_t first, int n, Special<T> &list, const Constants<T> &c,
                        const T *constants, int64_t columns, bool in_place) {
  int at[BLOCK];
  alignas(64) T of_entry[4][BLOCK], gamma[BLOCK], clip[BLOCK], distance[BLOCK], l[BLOCK], s[BLOCK];
  ByClass<T> side{gamma, clip, distance, c};
  for (int k = 0; k < 4; ++k) repeat(constants + k * columns, first, n, columns, of_entry[k]);
  if (list.soft) {
    pick(of_entry[0], list.at, list.count, gamma);
    pick(of_entry[1], list.at, list.count, clip);
    for (int i = 0, k; i < list.count; ++i) k = list.at[i], distance[i] = (list.z[i] - of_entry[2][k]) - of_entry[3][k];
    mixed(list.z, list.y, list.loss, list.slope, list.count, c, side);
  } else {
    list_positives(list, c);
  }
  int count = gather_from(0, z, n, MarginOfEntry<T>{of_entry[2], of_entry[3], distance}, at, 0);
  int padded = pad(z, at, count);
  pick(of_entry[0], at, padded, gamma);
  pick(of_entry[1], at, padded, clip);
  negatives<true>(z, l, s, padded, side);
  return unpack<true>(l, s, at, count, loss, slope, n, in_place);
}

// --- Weights and sums of a block.

template <class T> INLINE void block_factors(const Job &job, int64_t first, int n, T *factor) {
  const T *row = static_cast<const T *>(job.row_weight), *element = static_cast<const T *>(job.element_weight);
  if (job.class_weight)
    repeat(static_cast<const T *>(job.class_weight), first, n, job.columns, factor);
  else
    for (int i = 0; i < n; ++i) factor[i] = 1;
  for (int64_t i = 0, r = first / job.columns; row && i < n; ++r) {
    int64_t end = (r + 1) * job.columns - first < n ? (r + 1) * job.columns - first : n;
    for (; i < end; ++i) factor[i] *= row[r];
  }
  if (element)
    for (int i = 0; i < n; ++i) factor[i] *= element[first + i];
}

// Computes four sums at a time, because a single sum would wait for the end of each addition.
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

template <class T> INLINE void split(const Job &job, T *z, int64_t first, int n, Special<T> &list, Tally &tally) {
  if (job.class_index)
    split_by_class(static_cast<const int64_t *>(job.target), z, first, n, job.columns, list, tally);
  else if (job.target_dtype == FLOAT32)
    split_dense(static_cast<const float *>(job.target) + first, z, n, list, tally);
  else if (job.target_dtype == FLOAT64)
    split_dense(static_cast<const double *>(job.target) + first, z, n, list, tally);
  else if (job.target_dtype == INT64)
    split_dense(static_cast<const int64_t *>(job.target) + first, z, n, list, tally);
  else
    split_dense(static_cast<const uint8_t *>(job.target) + first, z, n, list, tally);
}

template <class T> INLINE void run_block(const Job &job, int64_t first, int n, Tally &tally) {
  const Constants<T> c(job.equation);
  alignas(64) T z[BLOCK], loss[BLOCK], slope[BLOCK], factor[BLOCK];
  Special<T> list;
  load(job.pred, job.pred_dtype, first, n, z);
  split(job, z, first, n, list, tally);
  bool weighted = job.row_weight || job.element_weight || job.class_weight, in_place = weighted || job.loss;
  int count = n;  // how many entries of `loss` are summed
  if (job.class_constants) {
    const T *constants = static_cast<const T *>(job.class_constants);
    count = all_by_class(z, loss, slope, first, n, list, c, constants, job.columns, in_place);
  } else {
    count = job.slope ? all_negatives<true>(job.level, z, loss, slope, n, c, in_place)
                     : all_negatives<false>(job.level, z, loss, slope, n, c, in_place);
    specials_alike(list, c);
  }
  for (int i = 0, front = count; i < list.count; ++i) {
    loss[front < n ? count++ : list.at[i]] = list.loss[i];
    slope[list.at[i]] = list.slope[i];
  }

  if (weighted) block_factors(job, first, n, factor);
  tally.sum = weighted ? sum_in_double<true>(loss, factor, n) : sum_in_double<false>(loss, factor, count);
  if (job.loss) {
    T *out = static_cast<T *>(job.loss) + first;
    for (int i = 0; i < n; ++i) out[i] = weighted ? loss[i] * factor[i] : loss[i];
  }
  if (!job.slope) return;
  if (weighted)
    for (int i = 0; i < n; ++i) slope[i] *= factor[i];
  T *out = static_cast<T *>(job.slope) + first;
  for (int i = 0; i < n; ++i) out[i] = slope[i] * T(job.scale);
}

INLINE void run_any_block(const Job &job, int64_t block, Tally &tally) {
  int64_t first = block * BLOCK, left = job.rows * job.columns - first;
  int n = int(left < BLOCK ? left : BLOCK);
  if (job.pred_dtype == FLOAT64)
    run_block<double>(job, first, n, tally);
  else
    run_block<float>(job, first, n, tally);
}

using Run = void (*)(const Job &, int64_t, Tally &);
void run_baseline(const Job &job, int64_t block, Tally &tally) { run_any_block(job, block, tally); }
FOR_AVX2 void run_avx2(const Job &job, int64_t block, Tally &tally) { run_any_block(job, block, tally); }
FOR_AVX512 void run_avx512(const Job &job, int64_t block, Tally &tally) { run_any_block(job, block, tally); }
constexpr Run RUN[] = {run_baseline, run_avx2, run_avx512};

template <class T> void rescale(void *slope, int64_t size, double ratio) {
  for (int64_t i = 0; slope && i < size; ++i) static_cast<T *>(slope)[i] *= T(ratio);
}

}  // namespace

extern "C" {

const char *mmasl_sources() { return MMASL_SOURCES; }  // the hash that setup.py defines

int mmasl_level() { return best_level(); }

// Fills the outputs that the job names, and returns how many targets are out of range.
int64_t mmasl_asymmetric_loss(const Job *given) {
  Job job = *given;
  const Run run = RUN[job.level];
  const int64_t size = job.rows * job.columns;
  const bool mean = job.scale < 0;
  if (mean) job.scale = 1.0 / double(size > 0 ? size : 1);
  int64_t blocks = (size + BLOCK - 1) / BLOCK;
  std::vector<Tally> tallies(blocks, Tally{0, 0, 0});
#pragma omp parallel for num_threads(int(job.threads)) schedule(static) if (job.threads > 1)
  for (int64_t block = 0; block < blocks; ++block) run(job, block, tallies[block]);
  Tally total{0, 0, 0};
  for (const Tally &tally : tallies) {  // in the order of the blocks, for the same bits with any number of threads
    total.sum += tally.sum;
    total.ignored += tally.ignored;
    total.bad += tally.bad;
  }
  if (mean && total.ignored) {  // the number of labels is known only now
    const double labelled = double(size > total.ignored ? size - total.ignored : 1);
    const auto rescale_any = job.pred_dtype == FLOAT64 ? rescale<double> : rescale<float>;
    rescale_any(job.slope, size, double(size) / labelled);
    job.scale = 1.0 / labelled;
  }
  if (job.sum && job.pred_dtype == FLOAT64) *static_cast<double *>(job.sum) = total.sum * job.scale;
  if (job.sum && job.pred_dtype != FLOAT64) *static_cast<float *>(job.sum) = float(total.sum * job.scale);
  return total.bad;
}
}
