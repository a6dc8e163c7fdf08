// The cells: how their gates lie side by side, and what happens to them at one step, unit by unit.
//
// Units are cut into panels. A panel's gates lie beside each other, as vectors of UNROLLED_BYTES:
//
//   SimpleRNN   a a        two vectors of units
//   LSTM        i f g o    one vector of units each
//   GRU         n r z u    u: the recurrent part of n, which r multiplies (reset after the product)
//
// The input adds to the first vectors, h(t-1) to the last ones; with the reset before the product, h(t-1) adds
// to r and z, and r h(t-1) to n.
#pragma once

#include "recurrence.h"
#include "vector.h"

namespace UNROLLED_NAMESPACE {

using namespace unrolled;

template <int CELL> struct Panel;
template <> struct Panel<SIMPLE_RNN> {
  static constexpr int GATES = 1, VECTORS = 2, UNITS = 2;    // UNITS: vectors of units
  static constexpr int X_COUNT = 2, H_FROM = 0, H_COUNT = 2;
  static constexpr int X_GATES[] = {0, 0}, H_GATES[] = {0, 0};    // which gate of the weights each vector is
};
template <> struct Panel<LSTM> {
  static constexpr int GATES = 4, VECTORS = 4, UNITS = 1;
  static constexpr int X_COUNT = 4, H_FROM = 0, H_COUNT = 4;
  static constexpr int X_GATES[] = {0, 1, 2, 3}, H_GATES[] = {0, 1, 2, 3};
};
template <> struct Panel<GRU> {
  static constexpr int GATES = 3, VECTORS = 4, UNITS = 1;
  static constexpr int X_COUNT = 3, H_FROM = 1, H_COUNT = 3;
  static constexpr int X_GATES[] = {2, 0, 1}, H_GATES[] = {0, 1, 2};
};
template <> struct Panel<GRU_BEFORE> {
  static constexpr int GATES = 3, VECTORS = 4, UNITS = 1;
  static constexpr int X_COUNT = 3, H_FROM = 1, H_COUNT = 2;
  static constexpr int X_GATES[] = {2, 0, 1}, H_GATES[] = {0, 1}, N_GATES[] = {2};
};

template <class T, int ACT> INLINE Vec<T> activate(Vec<T> x) {
  if constexpr (ACT == TANH) return hyperbolic_tangent<T>(x);
  if constexpr (ACT == RELU) return x < 0 ? Vec<T>{} : x;
  if constexpr (ACT == SIGMOID) return sigmoid<T>(x);
  return x;
}
template <class T, int ACT> INLINE Vec<T> slope(Vec<T> y) {    // of the activation, from its value
  if constexpr (ACT == TANH) return 1 - y * y;
  if constexpr (ACT == RELU) return y > 0 ? fill<T>(1) : Vec<T>{};
  if constexpr (ACT == SIGMOID) return y * (1 - y);
  return fill<T>(1);
}

// One panel of a tile's rows at one step. `gates` (rows, VECTORS, W); h and c have `units` a row, dh and dc `wide`.
template <class T> struct Step {
  int64_t rows, units, wide;
  T* gates;    // sums in, activations out
  const T *h_before, *c_before;
  T *h, *c;    // the states after the step
  T *dh, *dc;    // in: gradients of h and c; out: what goes straight to those of h(t-1) and c(t-1)
  T* dgates;    // of the sums
  const uint8_t* valid;    // a flag for each row, or null; backward only
};

template <class T, int CELL, int ACT> struct Points {
  static constexpr int W = WIDTH<T>;
  using P = Panel<CELL>;

  // Two short loops for a gated cell: one activation waits for another in a row, not among rows.
  static void forward(const Step<T>& s) {
    for (int64_t row = 0; row < s.rows; ++row) {
      T* a = s.gates + row * P::VECTORS * W;
      const int64_t at = row * s.units;
      if constexpr (CELL == SIMPLE_RNN) {
        for (int v = 0; v < 2; ++v) store(s.h + at + v * W, activate<T, ACT>(load(a + v * W)));
      } else if constexpr (CELL == LSTM) {
        store(s.c + at, cell_state(a, load(s.c_before + at)));
      } else if constexpr (CELL == GRU) {
        reset_gates(a);
        store(a, load(a) + load(a + W) * load(a + 3 * W));
      }
    }
    if constexpr (CELL == LSTM || CELL == GRU)
      for (int64_t row = 0; row < s.rows; ++row) {
        T* a = s.gates + row * P::VECTORS * W;
        const int64_t at = row * s.units;
        if constexpr (CELL == LSTM)
          store(s.h + at, load(a + 3 * W) * activate<T, ACT>(load(s.c + at)));
        else
          store(s.h + at, interpolate(a, load(s.h_before + at)));
      }
  }

  // The LSTM's gates through their activations, and c(t).
  static INLINE Vec<T> cell_state(T* a, Vec<T> before) {
    const Vec<T> i = sigmoid<T>(load(a)), f = sigmoid<T>(load(a + W)), g = activate<T, ACT>(load(a + 2 * W));
    store(a, i);
    store(a + W, f);
    store(a + 2 * W, g);
    store(a + 3 * W, sigmoid<T>(load(a + 3 * W)));
    return f * before + i * g;
  }
  // The GRU's r and z, and with them and n's sum its h(t).
  static INLINE void reset_gates(T* a) {
    store(a + W, sigmoid<T>(load(a + W)));
    store(a + 2 * W, sigmoid<T>(load(a + 2 * W)));
  }
  static INLINE Vec<T> interpolate(T* a, Vec<T> before) {
    const Vec<T> n = activate<T, ACT>(load(a));
    store(a, n);
    return n + load(a + 2 * W) * (before - n);
  }

  static void backward(const Step<T>& s) {
    for (int64_t row = 0; row < s.rows; ++row) {
      const T* a = s.gates + row * P::VECTORS * W;
      T *d = s.dgates + row * P::VECTORS * W, *dh = s.dh + row * s.wide, *dc = s.dc + row * s.wide;
      const int64_t at = row * s.units;
      if (s.valid && !s.valid[row]) {    // the state was carried
        for (int v = 0; v < P::VECTORS; ++v) store(d + v * W, Vec<T>{});
        continue;
      }
      if constexpr (CELL == SIMPLE_RNN) {
        for (int v = 0; v < 2; ++v) {
          store(d + v * W, load(dh + v * W) * slope<T, ACT>(load(s.h + at + v * W)));
          store(dh + v * W, Vec<T>{});
        }
      } else if constexpr (CELL == LSTM) {
        const Vec<T> out = activate<T, ACT>(load(s.c + at)), dy = load(dh), o = load(a + 3 * W);
        const Vec<T> state = load(dc) + dy * o * slope<T, ACT>(out);
        store(d + 3 * W, dy * out * o * (1 - o));
        cell_gates(a, d, state, load(s.c_before + at));
        store(dc, state * load(a + W));
        store(dh, Vec<T>{});
      } else if constexpr (CELL == GRU) {
        const Vec<T> r = load(a + W), dn = interpolation(a, d, load(dh), load(s.h_before + at));
        store(d, dn);
        store(d + W, dn * load(a + 3 * W) * r * (1 - r));
        store(d + 3 * W, dn * r);
        store(dh, load(dh) * load(a + 2 * W));
      }
    }
  }

  // From the gradient of c(t) to those of the sums of i, f and g.
  static INLINE void cell_gates(const T* a, T* d, Vec<T> state, Vec<T> before) {
    const Vec<T> i = load(a), f = load(a + W), g = load(a + 2 * W);
    store(d, state * g * i * (1 - i));
    store(d + W, state * before * f * (1 - f));
    store(d + 2 * W, state * i * slope<T, ACT>(g));
  }
  // From the gradient of the GRU's h(t) to those of the sums of z (stored) and n (returned).
  static INLINE Vec<T> interpolation(const T* a, T* d, Vec<T> dy, Vec<T> before) {
    const Vec<T> n = load(a), z = load(a + 2 * W);
    store(d + 2 * W, dy * (before - n) * z * (1 - z));
    return dy * (1 - z) * slope<T, ACT>(n);
  }
};

}    // namespace UNROLLED_NAMESPACE
