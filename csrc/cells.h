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

#include "product.h"
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

template <class T> constexpr int64_t PART = PART_BYTES / sizeof(T);
// Whether a panel's weights are more than the first cache holds by far, and all of them more than the second does.
template <class T, int CELL> constexpr bool is_large(int64_t units) {
  return Panel<CELL>::H_COUNT * WIDTH<T> * units > PART<T>;
}

// An activation of `count` vectors, from a place to another.
template <class T, int ACT>
INLINE void activate(int64_t count, const T* from, int64_t from_next, T* to, int64_t to_next) {
  auto f = [](auto& x) {
    if constexpr (ACT == TANH) hyperbolic_tangent<T>(x);
    if constexpr (ACT == SIGMOID) sigmoid<T>(x);
    if constexpr (ACT == RELU)
      for (auto& v : x) v = v < 0 ? Vec<T>{} : v;
  };
  abreast(f, count, from, from_next, to, to_next);
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
  using P = Panel<CELL>;
  static constexpr int W = WIDTH<T>, NV = P::VECTORS;

  static void forward(const Step<T>& s) {
    if constexpr (CELL == SIMPLE_RNN) {
      for (int v = 0; v < 2; ++v) activate<T, ACT>(s.rows, s.gates + v * W, NV * W, s.h + v * W, s.units);
    } else if constexpr (CELL == LSTM) {
      cell_state(s);
      output(s, s.c);
    } else if constexpr (CELL == GRU) {
      reset_gates(s);
      for (int64_t row = 0; row < s.rows; ++row) {
        T* a = s.gates + row * NV * W;
        store(a, load(a) + load(a + W) * load(a + 3 * W));
      }
      interpolate(s);
    }
  }

  // The LSTM's gates through their activations, and c(t).
  static void cell_state(const Step<T>& s) {
    for (int v : {0, 1, 3}) in_place<SIGMOID>(s, v);
    in_place<ACT>(s, 2);
    for (int64_t row = 0; row < s.rows; ++row) {
      const T* a = s.gates + row * NV * W;
      const int64_t at = row * s.units;
      store(s.c + at, load(a + W) * load(s.c_before + at) + load(a) * load(a + 2 * W));
    }
  }
  // The LSTM's h(t), from c(t) or what that was normalised to.
  static void output(const Step<T>& s, const T* c) {
    activate<T, ACT>(s.rows, c, s.units, s.h, s.units);
    for (int64_t row = 0; row < s.rows; ++row) {
      T* h = s.h + row * s.units;
      store(h, load(h) * load(s.gates + row * NV * W + 3 * W));
    }
  }
  // The GRU's r and z, and with them and n's sum its h(t).
  static void reset_gates(const Step<T>& s) {
    for (int v : {1, 2}) in_place<SIGMOID>(s, v);
  }
  static void interpolate(const Step<T>& s) {
    in_place<ACT>(s, 0);
    for (int64_t row = 0; row < s.rows; ++row) {
      const T* a = s.gates + row * NV * W;
      const Vec<T> n = load(a), before = load(s.h_before + row * s.units);
      store(s.h + row * s.units, n + load(a + 2 * W) * (before - n));
    }
  }
  template <int F> static void in_place(const Step<T>& s, int v) {
    activate<T, F>(s.rows, s.gates + v * W, NV * W, s.gates + v * W, NV * W);
  }

  static void backward(const Step<T>& s) {
    if (CELL == LSTM) activate<T, ACT>(s.rows, s.c, s.units, s.dgates + 3 * W, NV * W);
    for (int64_t row = 0; row < s.rows; ++row) {
      const T* a = s.gates + row * NV * W;
      T *d = s.dgates + row * NV * W, *dh = s.dh + row * s.wide, *dc = s.dc + row * s.wide;
      const int64_t at = row * s.units;
      if (s.valid && !s.valid[row]) {    // the state was carried
        for (int v = 0; v < NV; ++v) store(d + v * W, Vec<T>{});
        continue;
      }
      if constexpr (CELL == SIMPLE_RNN) {
        for (int v = 0; v < 2; ++v) {
          store(d + v * W, load(dh + v * W) * slope<T, ACT>(load(s.h + at + v * W)));
          store(dh + v * W, Vec<T>{});
        }
      } else if constexpr (CELL == LSTM) {
        const Vec<T> out = load(d + 3 * W), dy = load(dh), o = load(a + 3 * W);
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
