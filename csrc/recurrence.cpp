// The recurrence over whole sequences, forward and backward, for one instruction set.
//
// A task is a member and a tile of its rows, which it takes through all steps. Units are padded to whole
// vectors and cut into panels: the gates of a panel's units lie side by side, so that what the
// micro-kernel has summed in registers goes straight through the activations.
//
//   panel of an LSTM  i f g o      one vector each; saved: i f g o c
//   panel of a GRU    r z n u      u = the recurrent part of n, which r multiplies; saved: r z n u h(t-1)
//   panel of a RNN    h h          two vectors of units; saved: h h
#include "recurrence.h"

#include <algorithm>
#include <vector>

#include "vector.h"

namespace UNROLLED_NAMESPACE {

using namespace unrolled;

constexpr int REGISTERS = UNROLLED_BYTES == 64 ? 24 : 12;    // for sums; the rest is for operands
constexpr int PANEL = 4, PAIR = 2;    // vectors beside each other
template <int NV> constexpr int ROWS = REGISTERS / NV;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// sums[r][v] += Σ_k a[r·row + k·step] · b[k·ldb + v·W], in registers.
template <class T, int R, int NV>
inline __attribute__((always_inline)) void multiply(
    Vec<T> (&sums)[R][NV], const T* a, int64_t row, int64_t step, const T* b, int64_t ldb, int64_t K) {
  for (int64_t k = 0; k < K; ++k) {
    Vec<T> right[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) right[v] = load(b + k * ldb + v * WIDTH<T>);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const T left = a[r * row + k * step];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) sums[r][v] += left * right[v];
    }
  }
}

// Calls f with the number of rows as a constant, block after block: whole blocks first, then the rest.
template <int MOST, class F> inline void in_blocks(int64_t rows, F f) {
  // Nearly equal blocks: 16 rows by at most 6 are 6, 5, 5.
  const int64_t blocks = (rows + MOST - 1) / MOST;
  int64_t from = 0;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t size = (rows - from + blocks - i - 1) / (blocks - i);
    switch (size) {
#define CASE(n) \
  case n: \
    if constexpr (n <= MOST) f(from, std::integral_constant<int, n>{}); \
    break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#undef CASE
    }
    from += size;
  }
}

// c[r·ldc + n] (+)= Σ_k a[r·row + k·step] · b[panel][k][n], where b is packed in panels of NV vectors.
template <class T, int NV>
void product(T* c, int64_t ldc, const T* a, int64_t row, int64_t step, const T* packed, int64_t panels, int64_t K,
             int64_t rows) {
  for (int64_t p = 0; p < panels; ++p) {
    const T* b = packed + p * K * NV * WIDTH<T>;
    in_blocks<ROWS<NV>>(rows, [&](int64_t from, auto count) {
      constexpr int R = decltype(count)::value;
      Vec<T> sums[R][NV] = {};
      multiply<T, R, NV>(sums, a + from * row, row, step, b, NV * WIDTH<T>, K);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) store(c + (from + r) * ldc + (p * NV + v) * WIDTH<T>, sums[r][v]);
    });
  }
}

template <class T> struct Shape {
  static constexpr int W = WIDTH<T>;
  int64_t cell, G, NV, per_panel, slots, panels, units, width, saved, pairs, padded;
  explicit Shape(const Call& call) {
    cell = call.cell;
    G = cell == LSTM ? 4 : cell == GRU ? 3 : 1;
    NV = cell == SIMPLE_RNN ? PAIR : PANEL;    // vectors in a panel
    per_panel = cell == SIMPLE_RNN ? PAIR * W : W;    // units in a panel
    slots = cell == SIMPLE_RNN ? PAIR : PANEL + 1;    // vectors saved for a panel
    panels = (call.H + per_panel - 1) / per_panel;
    units = panels * per_panel;    // H, padded
    width = panels * NV * W;    // of a row of gates
    saved = panels * slots * W;
    pairs = (call.H + PAIR * W - 1) / (PAIR * W);
    padded = pairs * PAIR * W;    // H, padded for dh
  }
  // Where gate g of unit j stands in a row of gates.
  int64_t place(int64_t g, int64_t j) const { return (j / per_panel) * NV * W + g * W + j % per_panel; }
  // The places of weight row (g, j): of the input's and of the recurrence's. They differ in a GRU's n.
  int64_t place_ih(int64_t g, int64_t j) const { return place(g, j); }
  int64_t place_hh(int64_t g, int64_t j) const { return place(cell == GRU && g == 2 ? 3 : g, j); }
};

// The weights of one member: [panel][k][NV·W] for the sums of the gates.
template <class T>
void pack_gates(const Shape<T>& s, const T* w, int64_t K, int64_t H, bool recurrent, T* to) {
  const int64_t row = s.NV * Shape<T>::W;
  std::fill(to, to + s.panels * K * row, T(0));
  for (int64_t g = 0; g < s.G; ++g)
    for (int64_t j = 0; j < H; ++j) {
      const int64_t at = recurrent ? s.place_hh(g, j) : s.place_ih(g, j);
      T* column = to + (at / row) * K * row + at % row;
      const T* source = w + (g * H + j) * K;
      for (int64_t k = 0; k < K; ++k) column[k * row] = source[k];
    }
}

// The same weights for the way back: [pair of vectors of K][place of the gate][2·W].
template <class T>
void pack_back(const Shape<T>& s, const T* w, int64_t K, int64_t H, bool recurrent, T* to) {
  constexpr int64_t two = PAIR * WIDTH<T>;
  std::fill(to, to + round_up(K, two) * s.width, T(0));
  for (int64_t g = 0; g < s.G; ++g)
    for (int64_t j = 0; j < H; ++j) {
      const int64_t at = recurrent ? s.place_hh(g, j) : s.place_ih(g, j);
      const T* source = w + (g * H + j) * K;
      for (int64_t k = 0; k < K; ++k) to[(k / two) * s.width * two + at * two + k % two] = source[k];
    }
}

template <class T> struct Tiles {
  int64_t each, count;
  explicit Tiles(const Call& call) {
    // At least two tiles where there are rows for them, and an even number: two threads then share the work.
    // They depend on B alone: so do the sums.
    count = call.B < 8 ? 1 : round_up((call.B + 47) / 48, 2);
    each = (call.B + count - 1) / count;
    count = (call.B + each - 1) / each;
  }
};

template <class T> inline const T* as(const void* p) { return static_cast<const T*>(p); }
template <class T> inline T* as(void* p) { return static_cast<T*>(p); }

template <class T, int ACT> inline Vec<T> activate(Vec<T> x) {
  if constexpr (ACT == TANH) return hyperbolic_tangent(x);
  if constexpr (ACT == RELU) return x > 0 ? x : Vec<T>{} + (x != x ? x : Vec<T>{});
  if constexpr (ACT == SIGMOID) return sigmoid<T>(x);
  return x;
}
template <class T, int ACT> inline Vec<T> slope(Vec<T> y) {    // of the activation, from its value
  if constexpr (ACT == TANH) return 1 - y * y;
  if constexpr (ACT == RELU) return y > 0 ? fill<T>(1) : Vec<T>{};
  if constexpr (ACT == SIGMOID) return y * (1 - y);
  return fill<T>(1);
}

template <class T, int CELL, int ACT> struct Forward {
  const Call& call;
  Shape<T> s;
  Tiles<T> tiles;
  std::vector<T> ih, hh, bias;    // of all members, packed

  explicit Forward(const Call& c) : call(c), s(c), tiles(c) {
    const int64_t H = c.H, I = c.I;
    ih.resize(c.M * s.width * I);
    hh.resize(c.M * s.width * H);
    bias.assign(c.M * s.width, T(0));
    for (int64_t m = 0; m < c.M; ++m) {
      pack_gates(s, as<T>(c.weight_ih) + m * s.G * H * I, I, H, false, ih.data() + m * s.width * I);
      pack_gates(s, as<T>(c.weight_hh) + m * s.G * H * H, H, H, true, hh.data() + m * s.width * H);
      for (int64_t g = 0; g < s.G; ++g)
        for (int64_t j = 0; j < H; ++j) {
          const int64_t at = (m * s.G + g) * H + j;
          if (c.bias) bias[m * s.width + s.place_ih(g, j)] += as<T>(c.bias)[at];
          if (c.bias_hh) bias[m * s.width + s.place_hh(g, j)] += as<T>(c.bias_hh)[at];
        }
    }
  }

  void operator()(int64_t task) const {
    const int64_t m = task / tiles.count, first = task % tiles.count * tiles.each;
    const int64_t rows = std::min(tiles.each, call.B - first), H = call.H, T_ = call.T, units = s.units;
    const int64_t base = m * call.B + first;    // this tile's first row among all members' rows
    std::vector<T> buffer(rows * units * 4 + rows * H, T(0));
    T *h = buffer.data(), *h_new = h + rows * units, *c = h_new + rows * units, *c_new = c + rows * units;
    T* dropped = c_new + rows * units;
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(as<T>(call.h0) + (base + r) * H, H, h + r * units);
      if (CELL == LSTM) std::copy_n(as<T>(call.c0) + (base + r) * H, H, c + r * units);
    }
    const T* x = as<T>(call.x) + m * call.x_member + first * call.x_batch;
    for (int64_t t = 0; t < T_; ++t) {
      const T* from = h;
      int64_t from_row = units;
      if (call.recurrent_mask) {
        const T* keep = as<T>(call.recurrent_mask) + base * H;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t j = 0; j < H; ++j) dropped[r * H + j] = h[r * units + j] * keep[r * H + j];
        from = dropped;
        from_row = H;
      }
      step(m, base, rows, t, x + t * call.x_time, from, from_row, h, h_new, c, c_new);
      if (call.mask) skip(m, first, rows, t, h, h_new, c, c_new, base);
      std::swap(h, h_new);
      if (CELL == LSTM) std::swap(c, c_new);
      if (call.h)
        for (int64_t r = 0; r < rows; ++r)
          std::copy_n(h + r * units, H, as<T>(call.h) + ((base + r) * T_ + t) * H);
    }
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(h + r * units, H, as<T>(call.h_last) + (base + r) * H);
      if (CELL == LSTM) std::copy_n(c + r * units, H, as<T>(call.c_last) + (base + r) * H);
    }
  }

  void step(int64_t m, int64_t base, int64_t rows, int64_t t, const T* x, const T* from, int64_t from_row, const T* h,
            T* h_new, const T* c, T* c_new) const {
    constexpr int NV = CELL == SIMPLE_RNN ? PAIR : PANEL, W = WIDTH<T>;
    for (int64_t p = 0; p < s.panels; ++p) {
      const T* wx = ih.data() + m * s.width * call.I + p * call.I * NV * W;
      const T* wh = hh.data() + m * s.width * call.H + p * call.H * NV * W;
      const T* b = bias.data() + m * s.width + p * NV * W;
      in_blocks<ROWS<NV>>(rows, [&](int64_t first, auto count) {
        constexpr int R = decltype(count)::value;
        Vec<T> sums[R][NV];
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) sums[r][v] = load(b + v * W);
        multiply<T, R, NV>(sums, x + first * call.x_batch, call.x_batch, 1, wx, NV * W, call.I);
        multiply<T, R, NV>(sums, from + first * from_row, from_row, 1, wh, NV * W, call.H);
        for (int r = 0; r < R; ++r) {
          const int64_t at = (first + r) * s.units + p * s.per_panel;
          T* keep = call.saved ? as<T>(call.saved) + ((base + first + r) * call.T + t) * s.saved + p * s.slots * W
                               : nullptr;
          point(sums[r], h + at, h_new + at, c + at, c_new + at, keep);
        }
      });
    }
  }

  static inline void point(Vec<T>* sum, const T* h, T* h_new, const T* c, T* c_new, T* keep) {
    constexpr int W = WIDTH<T>;
    if constexpr (CELL == SIMPLE_RNN) {
      for (int v = 0; v < PAIR; ++v) {
        const Vec<T> y = activate<T, ACT>(sum[v]);
        store(h_new + v * W, y);
        if (keep) store(keep + v * W, y);
      }
    } else if constexpr (CELL == LSTM) {
      const Vec<T> i = sigmoid<T>(sum[0]), f = sigmoid<T>(sum[1]), g = hyperbolic_tangent(sum[2]);
      const Vec<T> o = sigmoid<T>(sum[3]), state = f * load(c) + i * g;
      store(c_new, state);
      store(h_new, o * hyperbolic_tangent(state));
      if (keep) {
        store(keep, i);
        store(keep + W, f);
        store(keep + 2 * W, g);
        store(keep + 3 * W, o);
        store(keep + 4 * W, load(c));
      }
    } else {
      const Vec<T> r = sigmoid<T>(sum[0]), z = sigmoid<T>(sum[1]), u = sum[3], before = load(h);
      const Vec<T> n = hyperbolic_tangent(sum[2] + r * u);
      store(h_new, n + z * (before - n));
      if (keep) {
        store(keep, r);
        store(keep + W, z);
        store(keep + 2 * W, n);
        store(keep + 3 * W, u);
        store(keep + 4 * W, before);
      }
    }
  }

  // Rows whose step is skipped carry their state.
  void skip(int64_t m, int64_t first, int64_t rows, int64_t t, const T* h, T* h_new, const T* c, T* c_new,
            int64_t) const {
    const uint8_t* mask = call.mask + m * call.mask_member + first * call.mask_batch + t * call.mask_time;
    for (int64_t r = 0; r < rows; ++r)
      if (!mask[r * call.mask_batch]) {
        std::copy_n(h + r * s.units, s.units, h_new + r * s.units);
        if (CELL == LSTM) std::copy_n(c + r * s.units, s.units, c_new + r * s.units);
      }
  }
};

template <class T, int CELL, int ACT> struct Backward {
  const Call& call;
  Shape<T> s;
  Tiles<T> tiles;
  std::vector<T> ih, hh;    // packed for the way back
  mutable std::vector<T> sums;    // [task]: dW_hhᵀ (H, width), dW_ihᵀ (I, width), db (width)
  int64_t input_pairs, sum_size;

  explicit Backward(const Call& c) : call(c), s(c), tiles(c) {
    constexpr int64_t two = PAIR * WIDTH<T>;
    input_pairs = (c.I + two - 1) / two;
    hh.resize(c.M * s.padded * s.width);
    if (c.dx) ih.resize(c.M * input_pairs * two * s.width);
    for (int64_t m = 0; m < c.M; ++m) {
      pack_back(s, as<T>(c.weight_hh) + m * s.G * c.H * c.H, c.H, c.H, true, hh.data() + m * s.padded * s.width);
      if (c.dx)
        pack_back(s, as<T>(c.weight_ih) + m * s.G * c.H * c.I, c.I, c.H, false,
                  ih.data() + m * input_pairs * two * s.width);
    }
    sum_size = (c.H + c.I + 1) * s.width;
    sums.assign(c.M * tiles.count * sum_size, T(0));
  }

  void operator()(int64_t task) const {
    constexpr int W = WIDTH<T>;
    const int64_t m = task / tiles.count, first = task % tiles.count * tiles.each;
    const int64_t rows = std::min(tiles.each, call.B - first), H = call.H, I = call.I, T_ = call.T;
    const int64_t base = m * call.B + first, wide = s.padded, input_wide = input_pairs * PAIR * W;
    // dh, what of it goes straight to h(t-1), the product with the weights, dc; then dx of one step
    std::vector<T> buffer(rows * wide * 4 + rows * input_wide, T(0)), gates(rows * T_ * s.width);
    T *dh = buffer.data(), *straight = dh + rows * wide, *back = straight + rows * wide, *dc = back + rows * wide;
    T* dx = dc + rows * wide;
    for (int64_t r = 0; r < rows; ++r) {
      if (call.dh_last) std::copy_n(as<T>(call.dh_last) + (base + r) * H, H, dh + r * wide);
      if (CELL == LSTM && call.dc_last) std::copy_n(as<T>(call.dc_last) + (base + r) * H, H, dc + r * wide);
    }
    for (int64_t t = T_ - 1; t >= 0; --t) {
      T* at = gates.data() + t * s.width;    // (rows, T, width)
      for (int64_t r = 0; r < rows; ++r) {
        if (call.dh) {
          const T* more = as<T>(call.dh) + ((base + r) * T_ + t) * H;
          for (int64_t j = 0; j < H; ++j) dh[r * wide + j] += more[j];
        }
        const bool skipped =
            call.mask && !call.mask[m * call.mask_member + (first + r) * call.mask_batch + t * call.mask_time];
        T* d = at + r * T_ * s.width;
        if (skipped) {
          std::fill_n(d, s.width, T(0));
          std::copy_n(dh + r * wide, wide, straight + r * wide);
          continue;
        }
        const T* kept = as<T>(call.saved) + ((base + r) * T_ + t) * s.saved;
        for (int64_t p = 0; p < s.panels; ++p) {
          const int64_t unit = r * wide + p * s.per_panel;
          point(kept + p * s.slots * W, dh + unit, dc + unit, straight + unit, d + p * s.NV * W);
        }
      }
      product<T, PAIR>(back, wide, at, T_ * s.width, 1, hh.data() + m * s.padded * s.width, s.pairs, s.width, rows);
      const T* keep = call.recurrent_mask ? as<T>(call.recurrent_mask) + base * H : nullptr;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < H; ++j)
          dh[r * wide + j] = straight[r * wide + j] + back[r * wide + j] * (keep ? keep[r * H + j] : T(1));
      if (call.dx) {
        product<T, PAIR>(dx, input_wide, at, T_ * s.width, 1, ih.data() + m * input_wide * s.width, input_pairs,
                         s.width, rows);
        for (int64_t r = 0; r < rows; ++r)
          std::copy_n(dx + r * input_wide, I, as<T>(call.dx) + ((base + r) * T_ + t) * I);
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(dh + r * wide, H, as<T>(call.dh0) + (base + r) * H);
      if (CELL == LSTM) std::copy_n(dc + r * wide, H, as<T>(call.dc0) + (base + r) * H);
    }
    weights(task, m, first, rows, base, gates.data());
  }

  // dh (and dc) of a step to the gradients of its gates before their activation; dc becomes that of c(t-1).
  static inline void point(const T* kept, const T* dh, T* dc, T* straight, T* d) {
    constexpr int W = WIDTH<T>;
    if constexpr (CELL == SIMPLE_RNN) {
      for (int v = 0; v < PAIR; ++v) {
        store(d + v * W, load(dh + v * W) * slope<T, ACT>(load(kept + v * W)));
        store(straight + v * W, Vec<T>{});
      }
    } else if constexpr (CELL == LSTM) {
      const Vec<T> i = load(kept), f = load(kept + W), g = load(kept + 2 * W), o = load(kept + 3 * W);
      const Vec<T> before = load(kept + 4 * W), out = hyperbolic_tangent(f * before + i * g), dy = load(dh);
      const Vec<T> state = load(dc) + dy * o * (1 - out * out);
      store(d, state * g * i * (1 - i));
      store(d + W, state * before * f * (1 - f));
      store(d + 2 * W, state * i * (1 - g * g));
      store(d + 3 * W, dy * out * o * (1 - o));
      store(dc, state * f);
      store(straight, Vec<T>{});
    } else {
      const Vec<T> r = load(kept), z = load(kept + W), n = load(kept + 2 * W), u = load(kept + 3 * W);
      const Vec<T> before = load(kept + 4 * W), dy = load(dh), dn = dy * (1 - z) * (1 - n * n);
      store(d, dn * u * r * (1 - r));
      store(d + W, dy * (before - n) * z * (1 - z));
      store(d + 2 * W, dn);
      store(d + 3 * W, dn * r);
      store(straight, dy * z);
    }
  }

  // Adds a row at a time: A is x or h(t-1), B the gates' gradients, the sum goes over the row's time.
  void weights(int64_t task, int64_t m, int64_t first, int64_t rows, int64_t base, const T* gates) const {
    constexpr int W = WIDTH<T>;
    const int64_t H = call.H, I = call.I, T_ = call.T;
    T *to_hh = sums.data() + task * sum_size, *to_ih = to_hh + H * s.width, *to_bias = to_ih + I * s.width;
    for (int64_t r = 0; r < rows; ++r) {
      const T* d = gates + r * T_ * s.width;
      const T* h0 = as<T>(call.h0) + (base + r) * H;
      const T* h = as<T>(call.h) + (base + r) * T_ * H;
      const T* x = as<T>(call.x) + m * call.x_member + (first + r) * call.x_batch;
      const T* keep = call.recurrent_mask ? as<T>(call.recurrent_mask) + (base + r) * H : nullptr;
      for (int64_t v = 0; v < s.width; v += PANEL * W) {
        if (s.width - v >= PANEL * W)
          columns<PANEL>(to_hh, to_ih, v, d, h0, h, x, keep);
        else
          columns<PAIR>(to_hh, to_ih, v, d, h0, h, x, keep);
      }
      for (int64_t t = 0; t < T_; ++t)
        for (int64_t v = 0; v < s.width; v += W)
          store(to_bias + v, load(to_bias + v) + load(d + t * s.width + v));
    }
  }

  template <int NV>
  void columns(T* to_hh, T* to_ih, int64_t v, const T* d, const T* h0, const T* h, const T* x, const T* keep) const {
    constexpr int W = WIDTH<T>;
    in_blocks<ROWS<NV>>(call.H, [&](int64_t unit, auto count) {
      constexpr int R = decltype(count)::value;
      Vec<T> sum[R][NV] = {};
      multiply<T, R, NV>(sum, h0 + unit, 1, 0, d + v, 0, 1);
      multiply<T, R, NV>(sum, h + unit, 1, call.H, d + s.width + v, s.width, call.T - 1);
      for (int r = 0; r < R; ++r)
        for (int i = 0; i < NV; ++i) {
          T* to = to_hh + (unit + r) * s.width + v + i * W;
          store(to, load(to) + (keep ? sum[r][i] * keep[unit + r] : sum[r][i]));
        }
    });
    in_blocks<ROWS<NV>>(call.I, [&](int64_t feature, auto count) {
      constexpr int R = decltype(count)::value;
      Vec<T> sum[R][NV] = {};
      multiply<T, R, NV>(sum, x + feature, 1, call.x_time, d + v, s.width, call.T);
      for (int r = 0; r < R; ++r)
        for (int i = 0; i < NV; ++i) {
          T* to = to_ih + (feature + r) * s.width + v + i * W;
          store(to, load(to) + sum[r][i]);
        }
    });
  }

  // The tiles' sums, added in their order, in the layout of the weights.
  void reduce() const {
    const int64_t H = call.H, I = call.I;
    for (int64_t m = 0; m < call.M; ++m) {
      T* total = sums.data() + m * tiles.count * sum_size;
      for (int64_t tile = 1; tile < tiles.count; ++tile)
        for (int64_t i = 0; i < sum_size; ++i) total[i] += total[tile * sum_size + i];
      const T *hh_sum = total, *ih_sum = total + H * s.width, *bias_sum = ih_sum + I * s.width;
      for (int64_t g = 0; g < s.G; ++g)
        for (int64_t j = 0; j < H; ++j) {
          const int64_t row = (m * s.G + g) * H + j, at_ih = s.place_ih(g, j), at_hh = s.place_hh(g, j);
          for (int64_t k = 0; k < H; ++k) as<T>(call.dweight_hh)[row * H + k] = hh_sum[k * s.width + at_hh];
          for (int64_t k = 0; k < I; ++k) as<T>(call.dweight_ih)[row * I + k] = ih_sum[k * s.width + at_ih];
          if (call.dbias) as<T>(call.dbias)[row] = bias_sum[at_ih];
          if (call.dbias_hh) as<T>(call.dbias_hh)[row] = bias_sum[at_hh];
        }
    }
  }
};

template <class Work> void run_tasks(const Work& work, const Call& call) {
  parallel(call.M * work.tiles.count, call.threads,
           [](void* context, int64_t task) { (*static_cast<const Work*>(context))(task); },
           const_cast<Work*>(&work));
}

template <class T, int CELL, int ACT> void forward_of(const Call& call) {
  const Forward<T, CELL, ACT> work(call);
  run_tasks(work, call);
}
template <class T, int CELL, int ACT> void backward_of(const Call& call) {
  const Backward<T, CELL, ACT> work(call);
  run_tasks(work, call);
  work.reduce();
}

#define BY_CELL(function) \
  if (call.cell == LSTM) return function<T, LSTM, TANH>(call); \
  if (call.cell == GRU) return function<T, GRU, TANH>(call); \
  if (call.activation == RELU) return function<T, SIMPLE_RNN, RELU>(call); \
  if (call.activation == LINEAR) return function<T, SIMPLE_RNN, LINEAR>(call); \
  if (call.activation == SIGMOID) return function<T, SIMPLE_RNN, SIGMOID>(call); \
  return function<T, SIMPLE_RNN, TANH>(call);

template <class T> void forward(const Call& call) { BY_CELL(forward_of) }
template <class T> void backward(const Call& call) { BY_CELL(backward_of) }
template <class T> int64_t saved_size(const Call& call) { return Shape<T>(call).saved; }

extern const Kernels kernels32, kernels64;
const Kernels kernels32 = {UNROLLED_ISA, saved_size<float>, forward<float>, backward<float>};
const Kernels kernels64 = {UNROLLED_ISA, saved_size<double>, forward<double>, backward<double>};

}    // namespace UNROLLED_NAMESPACE
