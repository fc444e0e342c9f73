// The two sides of Eq. 7 and their derivatives by the logit (README.md): for one entry, and in loops over many entries.
#pragma once

#include "../simd.h"

struct Equation {  // the constants of Eq. 7
  double gamma_pos, gamma_neg, clip, margin_hi, margin_lo, weight_pos, weight_neg, detach_focus;
};

template <class T> struct Constants {
  T gamma_pos, gamma_neg, slope_pos, slope_neg;  // slope_*: the exponent, or 0 if the focus is not differentiated
  T clip, margin_hi, margin_lo, weight_pos, weight_neg;
  bool detach_focus;
  explicit Constants(const Equation &e)
      : gamma_pos(T(e.gamma_pos)), gamma_neg(T(e.gamma_neg)), slope_pos(T(e.detach_focus ? 0 : e.gamma_pos)),
        slope_neg(T(e.detach_focus ? 0 : e.gamma_neg)), clip(T(e.clip)), margin_hi(T(e.margin_hi)),
        margin_lo(T(e.margin_lo)), weight_pos(T(e.weight_pos)), weight_neg(T(e.weight_neg)),
        detach_focus(e.detach_focus != 0) {}
};

template <class T> struct OfClass {  // the constants that differ between entries on the negative side
  T gamma, clip, distance;  // from the margin's logit, which is the lowest number for margin 0
};

// Both sides need only quotients of exp(-|z|), so that an entry needs one division:
//   sigmoid(z) = b / d, sigmoid(-z) = a / d, 1 - p_m = (a + m d) / d   with d = 1 + exp(-|z|).
template <class T> struct Terms {
  T size, e, a, b, d;
  INLINE_MEMBER explicit Terms(T z)
      : size(std::fabs(z)), e(exp_(-size)), a(choose(z < 0, T(1), e)), b(choose(z < 0, e, T(1))), d(1 + e) {}
};

// GAMMA is a small whole exponent, or -1 for any other exponent.
template <int GAMMA, class T> INLINE T focus(T x, T gamma) {
  if constexpr (GAMMA == 0) return T(1);
  if constexpr (GAMMA == 1) return x;
  if constexpr (GAMMA == 2) return x * x;
  if constexpr (GAMMA == 3) return x * x * x;
  if constexpr (GAMMA == 4) return (x * x) * (x * x);
  return power(x, gamma);
}

// A comparison with the margin finds NaN inactive. Without this it would hide that a model has diverged.
template <class T> INLINE T unless_nan(T z, T value) { return choose(z == z, value, z); }

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
  T weight = unless_nan(z, c.weight_neg);
  T w, log_loss, slope_of_focus;  // slope_of_focus is w * log_loss / p_m
  if constexpr (GAMMA >= 0) {
    T p_m = choose(p > c.clip, p - c.clip, T(0));
    T below = weight * focus<(GAMMA > 0 ? GAMMA - 1 : 0)>(p_m, c.gamma_neg);
    log_loss = -log_(u);
    w = GAMMA > 0 ? below * p_m : below;
    slope_of_focus = below * log_loss;
  } else {  // p - m loses digits next to the margin, which exponents below 1 make visible
    T distance = (z - c.margin_hi) - c.margin_lo;
    T p_m = (1 - c.clip) * p * one_minus_exp(choose(distance > 0, distance, T(0)));
    T v = 1 - u, ratio = choose(v > 0, -log_(u) / v, T(1));  // log_loss / p_m at the rounded u, where v is exact (Kahan)
    log_loss = ratio * p_m;
    w = choose(distance <= 0, T(0), weight * power(p_m, c.gamma_neg));  // for exponent 0, power is 1 there too
    slope_of_focus = w * ratio;
  }
  loss = w * log_loss;
  slope = (p * q) * (w * inverse_u + c.slope_neg * slope_of_focus);
}

// Any exponent, with or without a margin: `negative` for GAMMA = -1, with both cases computed and chosen by masks.
template <class T>
INLINE void negative_of_class(T z, const Terms<T> &at, const OfClass<T> &k, const Constants<T> &c, T &loss, T &slope) {
  bool margin = k.clip > 0;
  T u_d = choose(margin, at.a + k.clip * at.d, at.d), both = 1 / (at.d * u_d);
  T r = u_d * both, p = at.b * r, q = at.a * r, u = q + k.clip;
  T log_slope = choose(margin, q * (at.d * at.d * both), T(1));  // q / u; p is multiplied below
  bool active = k.distance > 0;
  T p_m = (1 - k.clip) * p * one_minus_exp(choose(active, k.distance, T(1)));
  T log_loss = choose(margin, -log_(u), (T(0.5) * at.size + T(0.5) * z) + log1p_unit(at.e));
  T v = choose(margin, 1 - u, p), ratio = choose(v > 0, log_loss / v, T(1));
  T w = c.weight_neg * power(p_m, k.gamma), gamma = choose(c.detach_focus, T(0), k.gamma);
  loss = unless_nan(z, choose(active, w * (ratio * p_m), T(0)));
  slope = unless_nan(z, choose(active, w * (p * log_slope + gamma * (p * q * ratio)), T(0)));
}

template <bool FOCUS, class T>
INLINE void positive(T z, const Terms<T> &at, const Constants<T> &c, T &loss, T &slope) {
  T r = 1 / at.d, p = at.b * r, q = at.a * r;
  T log_loss = (T(0.5) * at.size - T(0.5) * z) + log1p_unit(at.e);
  T w = FOCUS ? c.weight_pos * power(q, c.gamma_pos) : c.weight_pos;
  loss = w * log_loss;
  slope = -w * (q + c.slope_pos * (p * log_loss));
}

// --- The negative side of entry i of a block.

template <int GAMMA, bool MARGIN, class T> struct Alike {
  const Constants<T> &c;
  INLINE_MEMBER void operator()(int, T z, const Terms<T> &at, T &loss, T &slope) const {
    negative<GAMMA, MARGIN>(z, at, c, loss, slope);
  }
};

template <class T> struct ByClass {
  const T *gamma, *clip, *distance;  // a number for each entry
  const Constants<T> &c;
  INLINE_MEMBER void operator()(int i, T z, const Terms<T> &at, T &loss, T &slope) const {
    negative_of_class(z, at, {gamma[i], clip[i], distance[i]}, c, loss, slope);
  }
};

// --- The loops.

template <bool GRAD, class T, class Negative>
INLINE void negatives(const T *z, T *loss, T *slope, int n, const Negative &negative_at) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l, s;
    negative_at(i, z[i], Terms<T>(z[i]), l, s);
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

template <class T, class Negative>
INLINE void mixed(const T *z, const T *y, T *loss, T *slope, int n, const Constants<T> &c, const Negative &negative_at) {
#pragma omp simd
  for (int i = 0; i < n; ++i) {
    T l_pos, s_pos, l_neg, s_neg;
    Terms<T> at(z[i]);
    positive<true>(z[i], at, c, l_pos, s_pos);
    negative_at(i, z[i], at, l_neg, s_neg);
    loss[i] = y[i] * l_pos + (1 - y[i]) * l_neg;
    slope[i] = y[i] * s_pos + (1 - y[i]) * s_neg;
  }
}

template <bool GRAD, bool MARGIN, class T>
INLINE void negatives_alike(const T *z, T *loss, T *slope, int n, const Constants<T> &c) {
  if (c.gamma_neg == 0) return negatives<GRAD>(z, loss, slope, n, Alike<0, MARGIN, T>{c});
  if (c.gamma_neg == 1) return negatives<GRAD>(z, loss, slope, n, Alike<1, MARGIN, T>{c});
  if (c.gamma_neg == 2) return negatives<GRAD>(z, loss, slope, n, Alike<2, MARGIN, T>{c});
  if (c.gamma_neg == 3) return negatives<GRAD>(z, loss, slope, n, Alike<3, MARGIN, T>{c});
  if (c.gamma_neg == 4) return negatives<GRAD>(z, loss, slope, n, Alike<4, MARGIN, T>{c});
  negatives<GRAD>(z, loss, slope, n, Alike<-1, MARGIN, T>{c});
}
