// How a call is cut up: tiles of rows, where what is saved lies, and weights packed for the products.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "cells.h"
#include "memory.h"
#include "product.h"
#include "staged.h"

namespace UNROLLED_NAMESPACE {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T> class Buffer {    // aligned, not initialised
 public:
  explicit Buffer(int64_t n) : at(static_cast<T*>(take(n * sizeof(T)))), bytes(n * sizeof(T)) {}
  ~Buffer() { give_back(at, bytes); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() const { return at; }
  void clear(int64_t n) { std::fill_n(at, n, T(0)); }

 private:
  T* const at;
  const int64_t bytes;
};

template <class T> INLINE const T* as(const void* p) { return static_cast<const T*>(p); }
template <class T> INLINE T* as(void* p) { return static_cast<T*>(p); }

// A short row; a library's call would cost more than the copy.
template <class T> INLINE void copy(const T* from, int64_t n, T* to) {
  int64_t i = 0;
  for (; i + WIDTH<T> <= n; i += WIDTH<T>) store(to + i, load(from + i));
  for (; i < n; ++i) to[i] = from[i];
}

// How a call is cut up. It depends on the sizes alone, not on the threads: so do the bits of every sum.
template <class T, int CELL> struct Plan {
  static constexpr int W = WIDTH<T>, TWO = PAIR * W;
  using P = Panel<CELL>;
  static constexpr int NV = P::VECTORS, PER = P::UNITS * W;
  const Call& call;
  int64_t panels, units, wide, width;    // units: H padded to panels; wide: to pairs of vectors; width: of all gates
  int64_t tiles, tile_rows;
  int64_t gates_size, state_size, dropped_size, norm_size, row_size;    // elements saved for a row
  bool far;    // whether all that is saved is more than a second cache holds: each step's is then fetched a step ahead

  explicit Plan(const Call& c) : call(c) {
    panels = (c.H + PER - 1) / PER;
    units = panels * PER;
    wide = round_up(c.H, TWO);
    width = panels * NV * W;
    // At least two tiles where there are rows for them, and an even number: two threads then share the work.
    // Ragged sequences, sorted by length, make tiles of unlike length: more of them, of which each thread gets its share.
    const int64_t most = c.mask ? 16 : 32;
    tiles = c.B < 8 ? 1 : round_up((c.B + most - 1) / most, 2);
    tile_rows = (c.B + tiles - 1) / tiles;
    tiles = (c.B + tile_rows - 1) / tile_rows;
    gates_size = CELL == SIMPLE_RNN ? 0 : c.T * width;    // a SimpleRNN's backward needs h alone
    state_size = (c.T + 1) * units;
    norm_size = c.norm_weight ? c.T * (width + units * (CELL == LSTM) + norms()) : 0;
    dropped_size = c.recurrent_mask ? c.T * units : 0;
    row_size = gates_size + state_size * (1 + (CELL == LSTM)) + dropped_size + norm_size;
    far = c.saved && c.M * c.B * row_size * int64_t(sizeof(T)) > 3 << 19;
    if (c.saved && c.saved_size < c.M * c.B * row_size) throw std::invalid_argument("what is saved needs more memory");
  }
  bool staged() const { return CELL == GRU_BEFORE || call.norm_weight; }
  int64_t norms() const { return P::GATES + (CELL == LSTM); }
  template <class Weights>
  void set_norm(Stage<T>& s, int64_t member, int64_t rows, const Weights& w, T* saved) const {
    if (!call.norm_weight) return;
    s.gain = w.gain + member * norms() * units, s.shift = w.shift + member * norms() * units;
    s.hat = saved, s.c_hat = s.hat + rows * width, s.scale = s.c_hat + (CELL == LSTM) * rows * units;
  }
  int64_t input_step(int64_t t) const { return call.reverse ? call.T - 1 - t : t; }
};

template <class T, int CELL> struct Tile {
  int64_t member, first, rows, base;    // base: of its first row among the rows of all members
  T *gates, *h, *c, *dropped, *norm;    // what is saved, all steps; h and c start with the initial state
  Tile(const Plan<T, CELL>& plan, int64_t m, int64_t number) : member(m) {
    first = number * plan.tile_rows;
    rows = std::min(plan.tile_rows, plan.call.B - first);
    base = m * plan.call.B + first;
    gates = as<T>(plan.call.saved) + base * plan.row_size;
    h = gates + rows * plan.gates_size;
    c = h + rows * plan.state_size;
    dropped = c + (CELL == LSTM) * rows * plan.state_size;
    norm = dropped + rows * plan.dropped_size;
  }
  const T* input(const Call& call, int64_t t) const {
    return as<T>(call.x) + member * call.x_member + first * call.x_batch + t * call.x_time;
  }
  // The dropout mask of h(t-1), in rows of `wide` numbers of which the last ones are left as they are, or null.
  const T* kept(const Call& call, int64_t wide, T* to) const {
    if (!call.recurrent_mask) return nullptr;
    for (int64_t r = 0; r < rows; ++r) copy(as<T>(call.recurrent_mask) + (base + r) * call.H, call.H, to + r * wide);
    return to;
  }
  // Which row of dx, or of y and dy, is that of a sequence at a step.
  int64_t line(const Call& call, int64_t row, int64_t t) const {
    return call.time_major ? (member * call.T + t) * call.B + first + row : (base + row) * call.T + t;
  }
  int64_t output(const Call& call, int64_t row, int64_t t) const { return call.last_only ? base + row : line(call, row, t); }
  // The rows of a step that have to be computed: those up to the last valid one. Sorted by length, they shrink.
  int64_t active(const Call& call, int64_t t) const {
    int64_t count = rows;
    while (call.mask && count > 0 && !valid(call, count - 1, t)) --count;
    return count;
  }
  // The gates of step t, the states at `state`, and the step's rows of y or dy, to be fetched in so many calls.
  Prefetch<T> step(const Plan<T, CELL>& plan, int64_t t, int64_t state, const void* outputs, int64_t calls) const {
    Prefetch<T> found;
    if (!plan.far || t < 0 || t >= plan.call.T) return found;
    if (CELL != SIMPLE_RNN) found.add(gates + t * rows * plan.width, rows * plan.width);
    found.add(h + state * rows * plan.units, rows * plan.units);
    if (CELL == LSTM) found.add(c + state * rows * plan.units, rows * plan.units);
    if (outputs && !plan.call.last_only) {
      const int64_t next = plan.call.H * (plan.call.time_major ? 1 : plan.call.T);
      found.add(as<T>(outputs) + output(plan.call, 0, t) * plan.call.H, plan.call.H, rows, next);
    }
    found.spread(calls);
    return found;
  }
  bool valid(const Call& call, int64_t row, int64_t t) const {
    return call.mask[member * call.mask_member + (first + row) * call.mask_batch + t * call.mask_time] != 0;
  }
};

// What the stages of a step read: the norms' gains and shifts, padded, and which units are real.
template <class T, int CELL> struct StageWeights {
  Buffer<T> gain, shift, real;
  explicit StageWeights(const Plan<T, CELL>& s)
      : gain(s.call.M * s.norms() * s.units), shift(s.call.M * s.norms() * s.units), real(s.units) {
    const Call& c = s.call;
    std::fill_n(std::fill_n(static_cast<T*>(real), c.H, T(1)), s.units - c.H, T(0));
    if (c.norm_weight)
      for (int64_t i = 0; i < c.M * s.norms(); ++i) {
        pad(as<T>(c.norm_weight) + i * c.H, c.H, s.units, gain + i * s.units);
        pad(as<T>(c.norm_bias) + i * c.H, c.H, s.units, shift + i * s.units);
      }
  }
  static void pad(const T* from, int64_t count, int64_t size, T* to) {
    std::fill_n(std::copy_n(from, count, to), size - count, T(0));
  }
};

// Calls f(where a vector of lanes lies, which element of (G·H, K) its first lane holds, how many lanes are units), for
// each of them: [panel][k][vector], where a panel has `vectors` and those of `gates` come first.
template <class T, int CELL, int COUNT, class F>
INLINE void each_line(const Plan<T, CELL>& s, const int (&gates)[COUNT], int64_t vectors, int64_t K, F f) {
  constexpr int W = WIDTH<T>;
  for (int64_t p = 0; p < s.panels; ++p)
    for (int v = 0; v < COUNT; ++v) {
      const int64_t unit = p * s.PER + (CELL == SIMPLE_RNN ? v * W : 0);
      const int64_t lanes = std::clamp<int64_t>(s.call.H - unit, 0, W);
      for (int64_t k = 0; k < K; ++k)
        f(((p * K + k) * vectors + v) * W, (gates[v] * s.call.H + unit) * K + k, lanes);
    }
}

// Weights (G·H, K) to [panel][k][COUNT vectors], and back.
template <class T, int CELL, int COUNT>
void pack_gates(const Plan<T, CELL>& s, const int (&gates)[COUNT], const T* w, int64_t K, T* to) {
  each_line(s, gates, COUNT, K, [=](int64_t at, int64_t first, int64_t lanes) {
    for (int64_t lane = 0; lane < lanes; ++lane) to[at + lane] = w[first + lane * K];
    for (int64_t lane = lanes; lane < WIDTH<T>; ++lane) to[at + lane] = 0;
  });
}
template <class T, int CELL, int COUNT>
void unpack_gates(const Plan<T, CELL>& s, const int (&gates)[COUNT], const T* packed, int64_t K, T* w) {
  each_line(s, gates, COUNT, K, [=](int64_t at, int64_t first, int64_t lanes) {
    for (int64_t lane = 0; lane < lanes; ++lane) w[first + lane * K] = packed[at + lane];
  });
}

// The same weights for the way back: [pair of vectors of K][panel][vector][lane][2·W].
template <class T, int CELL, int COUNT>
void pack_back(const Plan<T, CELL>& s, const int (&gates)[COUNT], const T* w, int64_t K, T* to) {
  constexpr int64_t W = WIDTH<T>, TWO = PAIR * W;
  for (int64_t q = 0; q < K; q += TWO, to += s.panels * COUNT * W * TWO) {
    const int64_t count = std::min(TWO, K - q);
    each_line(s, gates, COUNT, 1, [=](int64_t at, int64_t first, int64_t lanes) {
      for (int64_t lane = 0; lane < W; ++lane) {
        const int64_t real = lane < lanes ? count : 0;
        T* line = to + (at + lane) * TWO;
        std::copy_n(w + (first + lane) * K + q, real, line);
        std::fill_n(line + real, TWO - real, T(0));
      }
    });
  }
}

}    // namespace UNROLLED_NAMESPACE
