// A step in stages, over whole rows: layer norm needs all units before any activation, and a reset before the
// product needs r before n. Panels and their gates: cells.h.
#pragma once

#include <cmath>
#include <initializer_list>

#include "cells.h"

namespace UNROLLED_NAMESPACE {

// A tile's rows at one step, all panels. The fields of Step are those of the first panel.
template <class T> struct Stage : Step<T> {
  int64_t panels, panel, dpanel;    // from a panel's gates to the next one's, and of their gradients
  T share;    // 1 / H
  const T* real;    // (units): 1, and 0 where units are padding
  const T *gain, *shift;    // (norms, units) of the layer norms, or null
  T *hat, *c_hat, *scale;    // normalised sums as `gates`, c as `c`, and 1 / deviation (rows, NORMS)
  T *dgain, *dshift;    // (norms, units), added to
  const T* kept;    // (rows, units): h(t-1) as it enters the product
  T* reset;    // (rows, units): r times it
  T *dreset, *dkept;    // (rows, wide)
  T* lines;    // (rows, units), scratch
};

template <class T, int CELL, int ACT> struct Staged {
  static constexpr int W = WIDTH<T>, NV = Panel<CELL>::VECTORS, PER = Panel<CELL>::UNITS;
  using S = Stage<T>;
  static constexpr int NORMS = Panel<CELL>::GATES + (CELL == LSTM);
  using Points = UNROLLED_NAMESPACE::Points<T, CELL, ACT>;

  // The vectors of one gate in a row, or (TOGETHER = 1) of a row of units.
  template <int TOGETHER> struct Line {
    T* at;
    int64_t stride, count;
    T* operator()(int64_t i) const { return at + uint64_t(i) / TOGETHER * stride + uint64_t(i) % TOGETHER * W; }
  };
  static Line<PER> gate(const S& s, T* from, int64_t stride, int64_t row, int v) {
    return {from + row * NV * W + v * W, stride, s.panels * PER};
  }
  static Line<1> units(const S& s, T* from) { return {from, W, s.panels * PER}; }
  static constexpr int norm_of(int v) {    // which norm a vector of a panel has
    return CELL == GRU || CELL == GRU_BEFORE ? (v + 2) % 3 : CELL == SIMPLE_RNN ? 0 : v;
  }
  // Writes to `to` what `from` is normalised to, with gain and shift; keeps the normalised numbers and their scale.
  template <class L> static INLINE void normalise(const S& s, L from, L hat, L to, int norm, T* scale) {
    Vec<T> total{}, squares{};
    for (int64_t i = 0; i < from.count; ++i) total += load(from(i)) * load(s.real + i * W);
    const T mean = sum<T>(total) * s.share;
    for (int64_t i = 0; i < from.count; ++i) {
      const Vec<T> d = (load(from(i)) - mean) * load(s.real + i * W);
      store(hat(i), d);
      squares += d * d;
    }
    *scale = 1 / std::sqrt(sum<T>(squares) * s.share + T(1e-5));
    const T *gain = s.gain + norm * s.units, *shift = s.shift + norm * s.units;
    for (int64_t i = 0; i < from.count; ++i) {
      const Vec<T> n = load(hat(i)) * *scale;
      store(hat(i), n);
      store(to(i), n * load(gain + i * W) + load(shift + i * W));
    }
  }
  // Turns the gradient of that into the gradient of what was normalised.
  template <class L> static INLINE void normalise_back(const S& s, L d, L hat, int norm, T scale) {
    const T* gain = s.gain + norm * s.units;
    T *dgain = s.dgain + norm * s.units, *dshift = s.dshift + norm * s.units;
    Vec<T> total{}, along{};
    for (int64_t i = 0; i < d.count; ++i) {
      const Vec<T> g = load(d(i)), n = load(hat(i)), dn = g * load(gain + i * W);
      store(dgain + i * W, load(dgain + i * W) + g * n);
      store(dshift + i * W, load(dshift + i * W) + g);
      total += dn;
      along += dn * n;
    }
    const T mean = sum<T>(total) * s.share, slant = sum<T>(along) * s.share;
    for (int64_t i = 0; i < d.count; ++i) {
      const Vec<T> dn = load(d(i)) * load(gain + i * W);
      store(d(i), (dn - mean - load(hat(i)) * slant) * scale * load(s.real + i * W));
    }
  }
  static void normalise_gate(const S& s, int64_t row, int v) {
    const Line<PER> sums = gate(s, s.gates, s.panel, row, v);
    normalise(s, sums, gate(s, s.hat, s.panel, row, v), sums, norm_of(v), s.scale + row * NORMS + norm_of(v));
  }
  static void normalise_gate_back(const S& s, int64_t row, int v) {
    normalise_back(s, gate(s, s.dgates, s.dpanel, row, v), gate(s, s.hat, s.panel, row, v), norm_of(v),
                   s.scale[row * NORMS + norm_of(v)]);
  }

  static Step<T> panel(const S& s, int64_t p) {
    Step<T> one = s;
    const int64_t at = p * PER * W;
    one.gates += p * s.panel, one.dgates += p * s.dpanel;
    one.h_before += at, one.h += at, one.c_before += at, one.c += at;
    return one;
  }
  static void normalise_gates(const S& s, std::initializer_list<int> gates) {
    for (int64_t row = 0; s.gain && row < s.rows; ++row)
      for (int v : gates) normalise_gate(s, row, v);
  }

  // All of a step; where the reset comes before the product, up to that product.
  static void forward(const S& s) {
    if constexpr (CELL == SIMPLE_RNN) {
      normalise_gates(s, {0});
      for (int64_t p = 0; p < s.panels; ++p) Points::forward(panel(s, p));
    } else if constexpr (CELL == LSTM) {
      normalise_gates(s, {0, 1, 2, 3});
      for (int64_t p = 0; p < s.panels; ++p) Points::cell_state(panel(s, p));
      for (int64_t row = 0; s.gain && row < s.rows; ++row)
        normalise(s, units(s, s.c + row * s.units), units(s, s.c_hat + row * s.units), units(s, s.lines + row * s.units), 4,
                  s.scale + row * NORMS + 4);
      for (int64_t p = 0; p < s.panels; ++p) Points::output(panel(s, p), (s.gain ? s.lines : s.c) + p * W);
    } else {
      normalise_gates(s, {1, 2});
      for (int64_t p = 0; p < s.panels; ++p) {
        Points::reset_gates(panel(s, p));
        for (int64_t row = 0; row < s.rows; ++row) {
          T* a = s.gates + p * s.panel + row * NV * W;
          const int64_t at = row * s.units + p * W;
          if (s.gain) store(s.hat + p * s.panel + row * NV * W + 3 * W, Vec<T>{});    // unused, but not left as found
          if (CELL == GRU)
            store(a, load(a) + load(a + W) * load(a + 3 * W));
          else
            store(s.reset + at, load(a + W) * load(s.kept + at));
        }
      }
    }
    if (CELL == GRU) forward_rest(s);
  }
  // A GRU's n and h.
  static void forward_rest(const S& s) {
    if constexpr (CELL == GRU || CELL == GRU_BEFORE) {
      normalise_gates(s, {0});
      for (int64_t p = 0; p < s.panels; ++p) Points::interpolate(panel(s, p));
    }
  }

  // All of a step; where the reset comes before the product, the gradient of n's sum.
  static void backward(const S& s) {
    if constexpr (CELL == LSTM) {
      for (int64_t row = 0; row < s.rows; ++row)
        for (int64_t j = 0; j < s.units; j += W) {
          const int64_t at = row * s.units + j;
          const T *gain = s.gain + 4 * s.units + j, *shift = s.shift + 4 * s.units + j;
          store(s.lines + at, s.gain ? load(s.c_hat + at) * load(gain) + load(shift) : load(s.c + at));
        }
      activate<T, ACT>(s.rows * s.panels, s.lines, W, s.lines, W);
    }
    for (int64_t row = 0; row < s.rows; ++row) {
      const int64_t at = row * s.units;
      T *dh = s.dh + row * s.wide, *dc = s.dc + row * s.wide;
      auto gates = [&](int64_t p) { return s.gates + p * s.panel + row * NV * W; };
      auto dgates = [&](int64_t p) { return s.dgates + p * s.dpanel + row * NV * W; };
      if (s.valid && !s.valid[row]) {
        for (int64_t p = 0; p < s.panels; ++p)
          for (int v = 0; v < NV; ++v) store(dgates(p) + v * W, Vec<T>{});
        continue;
      }
      if constexpr (CELL == SIMPLE_RNN) {
        for (int64_t i = 0; i < 2 * s.panels; ++i) {
          store(dgates(i / 2) + i % 2 * W, load(dh + i * W) * slope<T, ACT>(load(s.h + at + i * W)));
          store(dh + i * W, Vec<T>{});
        }
        if (s.gain) normalise_gate_back(s, row, 0);
      } else if constexpr (CELL == LSTM) {
        for (int64_t p = 0; p < s.panels; ++p) {
          const int64_t j = p * W;
          const Vec<T> out = load(s.lines + at + j), dy = load(dh + j), o = load(gates(p) + 3 * W);
          store(dgates(p) + 3 * W, dy * out * o * (1 - o));
          store(s.lines + at + j, dy * o * slope<T, ACT>(out));
          store(dh + j, Vec<T>{});
        }
        if (s.gain) normalise_back(s, units(s, s.lines + at), units(s, s.c_hat + at), 4, s.scale[row * NORMS + 4]);
        for (int64_t p = 0; p < s.panels; ++p) {
          const Vec<T> state = load(dc + p * W) + load(s.lines + at + p * W);
          Points::cell_gates(gates(p), dgates(p), state, load(s.c_before + at + p * W));
          store(dc + p * W, state * load(gates(p) + W));
        }
        if (s.gain)
          for (int v = 0; v < 4; ++v) normalise_gate_back(s, row, v);
      } else {
        for (int64_t p = 0; p < s.panels; ++p) {
          const Vec<T> dy = load(dh + p * W);
          store(dgates(p), Points::interpolation(gates(p), dgates(p), dy, load(s.h_before + at + p * W)));
          store(dh + p * W, dy * load(gates(p) + 2 * W));
        }
        if (s.gain) normalise_gate_back(s, row, 0);
      }
    }
    if (CELL == GRU) backward_rest(s);
  }
  // A GRU's r, and the norms of r and z.
  static void backward_rest(const S& s) {
    if constexpr (CELL == GRU || CELL == GRU_BEFORE)
      for (int64_t row = 0; row < s.rows; ++row) {
        if (s.valid && !s.valid[row]) continue;
        for (int64_t p = 0; p < s.panels; ++p) {
          const T* a = s.gates + p * s.panel + row * NV * W;
          T* d = s.dgates + p * s.dpanel + row * NV * W;
          const Vec<T> r = load(a + W), dn = load(d);
          if (CELL == GRU) {
            store(d + W, dn * load(a + 3 * W) * r * (1 - r));
            store(d + 3 * W, dn * r);
          } else {
            const int64_t at = row * s.units + p * W, to = row * s.wide + p * W;
            const Vec<T> given = load(s.dreset + to), kept = load(s.kept + at);
            store(d + W, given * kept * r * (1 - r));
            store(s.dkept + to, load(s.dkept + to) + given * r);
            store(s.reset + at, r * kept);
          }
        }
        if (s.gain) normalise_gate_back(s, row, 1), normalise_gate_back(s, row, 2);
      }
  }
};

}    // namespace UNROLLED_NAMESPACE
