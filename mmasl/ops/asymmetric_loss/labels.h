// Moves what is not a plain negative out of a block of logits, and counts ignored and impossible labels.
#pragma once

#include "../cpu_math.h"

#include <type_traits>

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

// An integer label above 0 is a positive where nobody checks what `bad` counts.
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
    uint64_t flags = 0;  // one bit an entry: eight bytes of 0 or 1 are gathered by one multiplication
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
