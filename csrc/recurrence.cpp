// The recurrence over whole sequences, forward and backward, for one instruction set.
//
// Rows of a batch are independent through time: a tile of them goes through all steps on one thread, with the
// weights hot in its cache. Panels, and what happens at one step: cells.h. Products: product.h.
#include "recurrence.h"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "cells.h"
#include "product.h"
#include "vector.h"

namespace UNROLLED_NAMESPACE {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class T> class Buffer {    // aligned, not initialised
 public:
  explicit Buffer(int64_t n) : at(static_cast<T*>(::operator new(std::max<int64_t>(n, 1) * sizeof(T), ALIGN))) {}
  ~Buffer() { ::operator delete(at, ALIGN); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() const { return at; }
  void clear(int64_t n) { std::fill_n(at, n, T(0)); }

 private:
  static constexpr std::align_val_t ALIGN{64};
  T* at;
};

template <class T> INLINE const T* as(const void* p) { return static_cast<const T*>(p); }
template <class T> INLINE T* as(void* p) { return static_cast<T*>(p); }

// How a call is cut up. It depends on the sizes alone, not on the threads: so do the bits of every sum.
template <class T, int CELL> struct Plan {
  static constexpr int W = WIDTH<T>, TWO = PAIR * W;
  using P = Panel<CELL>;
  static constexpr int NV = P::VECTORS, PER = P::UNITS * W;
  const Call& call;
  int64_t panels, units, wide, width;    // units: H padded to panels; wide: to pairs of vectors; width: of all gates
  int64_t tiles, tile_rows;
  int64_t gates_size, state_size, row_size;    // elements saved for a row

  explicit Plan(const Call& c) : call(c) {
    panels = (c.H + PER - 1) / PER;
    units = panels * PER;
    wide = round_up(c.H, TWO);
    width = panels * NV * W;
    // At least two tiles where there are rows for them, and an even number: two threads then share the work.
    tiles = c.B < 8 ? 1 : round_up((c.B + 31) / 32, 2);
    tile_rows = (c.B + tiles - 1) / tiles;
    tiles = (c.B + tile_rows - 1) / tile_rows;
    gates_size = CELL == SIMPLE_RNN ? 0 : c.T * width;    // a SimpleRNN's backward needs h alone
    state_size = (c.T + 1) * units;
    row_size = gates_size + state_size * (1 + (CELL == LSTM) + (c.recurrent_mask != nullptr));
    if (c.saved && c.saved_size < c.M * c.B * row_size) throw std::invalid_argument("what is saved needs more memory");
  }
  int64_t input_step(int64_t t) const { return call.reverse ? call.T - 1 - t : t; }
};

template <class T, int CELL> struct Tile {
  int64_t member, first, rows, base;    // base: of its first row among the rows of all members
  T *gates, *h, *c, *dropped;    // what is saved, all steps; h, c and dropped start with step 0
  Tile(const Plan<T, CELL>& plan, int64_t m, int64_t number) : member(m) {
    first = number * plan.tile_rows;
    rows = std::min(plan.tile_rows, plan.call.B - first);
    base = m * plan.call.B + first;
    gates = as<T>(plan.call.saved) + base * plan.row_size;
    h = gates + rows * plan.gates_size;
    c = h + rows * plan.state_size;
    dropped = c + (CELL == LSTM) * rows * plan.state_size;
  }
  const T* input(const Call& call, int64_t t) const {
    return as<T>(call.x) + member * call.x_member + first * call.x_batch + t * call.x_time;
  }
  bool valid(const Call& call, int64_t row, int64_t t) const {
    return call.mask[member * call.mask_member + (first + row) * call.mask_batch + t * call.mask_time] != 0;
  }
};

// Weights (G·H, K) to [panel][k][COUNT vectors], and back.
template <class T, int CELL, int COUNT>
void pack_gates(const Plan<T, CELL>& s, const int (&gates)[COUNT], const T* w, int64_t K, T* to) {
  constexpr int W = WIDTH<T>;
  const int64_t H = s.call.H;
  for (int64_t p = 0; p < s.panels; ++p, to += K * COUNT * W)
    for (int v = 0; v < COUNT; ++v) {
      const int64_t unit = p * s.PER + (CELL == SIMPLE_RNN ? v * W : 0), lanes = std::clamp<int64_t>(H - unit, 0, W);
      const T* from = w + (gates[v] * H + unit) * K;
      for (int64_t k = 0; k < K; ++k) {
        T* line = to + (k * COUNT + v) * W;
        for (int64_t lane = 0; lane < lanes; ++lane) line[lane] = from[lane * K + k];
        for (int64_t lane = lanes; lane < W; ++lane) line[lane] = 0;
      }
    }
}
template <class T, int CELL, int COUNT>
void unpack_gates(const Plan<T, CELL>& s, const int (&gates)[COUNT], const T* packed, int64_t K, T* w) {
  constexpr int W = WIDTH<T>;
  const int64_t H = s.call.H;
  for (int64_t p = 0; p < s.panels; ++p, packed += K * COUNT * W)
    for (int v = 0; v < COUNT; ++v) {
      const int64_t unit = p * s.PER + (CELL == SIMPLE_RNN ? v * W : 0), lanes = std::clamp<int64_t>(H - unit, 0, W);
      T* to = w + (gates[v] * H + unit) * K;
      for (int64_t k = 0; k < K; ++k) {
        const T* line = packed + (k * COUNT + v) * W;
        for (int64_t lane = 0; lane < lanes; ++lane) to[lane * K + k] = line[lane];
      }
    }
}

// The same weights for the way back: [pair of vectors of K][panel][vector][lane][2·W].
template <class T, int CELL, int COUNT>
void pack_back(const Plan<T, CELL>& s, const int (&gates)[COUNT], const T* w, int64_t K, T* to) {
  constexpr int W = WIDTH<T>, TWO = PAIR * W;
  const int64_t H = s.call.H;
  for (int64_t q = 0; q < K; q += TWO)
    for (int64_t p = 0; p < s.panels; ++p)
      for (int v = 0; v < COUNT; ++v) {
        const int64_t unit = p * s.PER + (CELL == SIMPLE_RNN ? v * W : 0), count = std::min<int64_t>(TWO, K - q);
        for (int64_t lane = 0; lane < W; ++lane, to += TWO) {
          const int64_t real = unit + lane < H ? count : 0;
          std::copy_n(w + (gates[v] * H + unit + lane) * K + q, real, to);
          std::fill_n(to + real, TWO - real, T(0));
        }
      }
}

// The sums of a panel's gates: its bias, the input's product and the recurrence's, through registers once.
template <class T, int CELL> struct GateSums {
  using P = Panel<CELL>;
  static constexpr int W = WIDTH<T>, NV = P::VECTORS, MOST = ROWS<NV>;
  const T *x, *h, *weight_ih, *weight_hh, *bias;
  int64_t x_row, h_row, I, H;
  T* sums;

  template <int R> static void run(const GateSums& f, int64_t from) {
    Vec<T> sums[R][NV];
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[r][v] = load(f.bias + v * W);
    multiply<0, P::X_COUNT>(sums, f.x + from * f.x_row, f.x_row, 1, f.weight_ih, P::X_COUNT * W, f.I);
    multiply<P::H_FROM, P::H_COUNT>(sums, f.h + from * f.h_row, f.h_row, 1, f.weight_hh, P::H_COUNT * W, f.H);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store(f.sums + (from + r) * NV * W + v * W, sums[r][v]);
  }
};

template <class T, int CELL> class Forward : Plan<T, CELL> {
  using Base = Plan<T, CELL>;
  using P = Panel<CELL>;
  using Base::call, Base::panels, Base::units, Base::width, Base::W, Base::NV, Base::PER;
  void (*point)(const Step<T>&);
  Buffer<T> ih, hh, bias;    // of all members, packed

 public:
  Forward(const Call& c, void (*f)(const Step<T>&))
      : Base(c), point(f), ih(c.M * hidden(c.I)), hh(c.M * hidden_h()), bias(c.M * width) {
    bias.clear(c.M * width);
    for (int64_t m = 0; m < c.M; ++m) {
      pack_gates(*this, P::X_GATES, as<T>(c.weight_ih) + m * P::GATES * c.H * c.I, c.I, ih + m * hidden(c.I));
      pack_gates(*this, P::H_GATES, as<T>(c.weight_hh) + m * P::GATES * c.H * c.H, c.H, hh + m * hidden_h());
      if (c.bias) add_bias(P::X_GATES, as<T>(c.bias) + m * P::GATES * c.H, bias + m * width);
      if (c.bias_hh) add_bias(P::H_GATES, as<T>(c.bias_hh) + m * P::GATES * c.H, bias + m * width + P::H_FROM * W);
    }
  }
  int64_t hidden(int64_t I) const { return panels * P::X_COUNT * W * I; }
  int64_t hidden_h() const { return panels * P::H_COUNT * W * call.H; }

  template <int COUNT> void add_bias(const int (&gates)[COUNT], const T* b, T* to) const {
    for (int64_t p = 0; p < panels; ++p)
      for (int v = 0; v < COUNT; ++v)
        for (int64_t lane = 0; lane < W; ++lane) {
          const int64_t unit = p * PER + (CELL == SIMPLE_RNN ? v * W : 0) + lane;
          if (unit < call.H) to[(p * NV + v) * W + lane] += b[gates[v] * call.H + unit];
        }
  }

  int64_t tasks() const { return call.M * this->tiles; }

  void operator()(int64_t task) const {
    Tile<T, CELL> tile(*this, task / this->tiles, task % this->tiles);
    const int64_t rows = tile.rows, H = call.H, state = rows * units;
    const bool saves = call.saved != nullptr;
    Buffer<T> scratch(rows * width + 6 * state);
    scratch.clear(rows * width + 6 * state);
    if (!saves) tile.h = scratch + rows * width, tile.c = tile.h + 2 * state, tile.dropped = tile.c + 2 * state;
    // where step t's state lies: in training one after the other, in inference in turns
    auto at = [&](T* states, int64_t t) { return states + (saves ? t : t % 2) * state; };
    start(tile.h, call.h0, tile);
    if (CELL == LSTM) start(tile.c, call.c0, tile);
    const T* keep = call.recurrent_mask ? as<T>(call.recurrent_mask) + tile.base * H : nullptr;
    Buffer<int64_t> seen(rows);    // whether a row has had a valid step
    seen.clear(rows);
    for (int64_t t = 0; t < call.T; ++t) {
      T *before = at(tile.h, t), *h = at(tile.h, t + 1), *c_before = at(tile.c, t), *c = at(tile.c, t + 1);
      if (keep) drop(before, keep, at(tile.dropped, t), rows);
      const T* from = keep ? at(tile.dropped, t) : before;
      const int64_t now = this->input_step(t);
      T* gates = saves && CELL != SIMPLE_RNN ? tile.gates + t * rows * width : scratch;
      const bool all = saves && CELL != SIMPLE_RNN;    // else a panel's gates are needed no longer than it
      for (int64_t p = 0; p < panels; ++p) {
        T* sums = gates + (all ? p * rows * NV * W : 0);
        const GateSums<T, CELL> f{tile.input(call, now), from, ih + (tile.member * panels + p) * P::X_COUNT * W * call.I,
                                  hh + (tile.member * panels + p) * P::H_COUNT * W * H, bias + (tile.member * panels + p) * NV * W,
                                  call.x_batch, units, call.I, H, sums};
        in_blocks(f, rows);
        Step<T> s{};
        s.rows = rows, s.units = units, s.gates = sums;
        s.h_before = before + p * PER, s.h = h + p * PER, s.c_before = c_before + p * PER, s.c = c + p * PER;
        point(s);
      }
      if (call.mask)
        for (int64_t r = 0; r < rows; ++r) {
          if (tile.valid(call, r, now)) {
            seen[r] = 1;
            continue;
          }
          std::copy_n(before + r * units, units, h + r * units);
          if (CELL == LSTM) std::copy_n(c_before + r * units, units, c + r * units);
        }
      if (call.y && (!call.last_only || t == call.T - 1)) {
        const int64_t steps = call.last_only ? 1 : call.T;
        for (int64_t r = 0; r < rows; ++r) {
          T* y = as<T>(call.y) + ((tile.base + r) * steps + (call.last_only ? 0 : t)) * H;
          if (call.mask && !seen[r])
            std::fill_n(y, H, T(0));
          else
            std::copy_n(h + r * units, H, y);
        }
      }
    }
    finish(at(tile.h, call.T), call.h_last, tile);
    if (CELL == LSTM) finish(at(tile.c, call.T), call.c_last, tile);
  }

  void start(T* state, const void* given, const Tile<T, CELL>& tile) const {
    std::fill_n(state, tile.rows * units, T(0));
    if (given)
      for (int64_t r = 0; r < tile.rows; ++r)
        std::copy_n(as<T>(given) + (tile.base + r) * call.H, call.H, state + r * units);
  }
  void finish(const T* state, void* last, const Tile<T, CELL>& tile) const {
    for (int64_t r = 0; r < tile.rows; ++r)
      std::copy_n(state + r * units, call.H, as<T>(last) + (tile.base + r) * call.H);
  }
  void drop(const T* h, const T* keep, T* to, int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < call.H; ++j) to[r * units + j] = h[r * units + j] * keep[r * call.H + j];
  }
};

// A group of tiles goes through time backwards and sums the gradients of the weights.
template <class T, int CELL> class Backward : Plan<T, CELL> {
  using Base = Plan<T, CELL>;
  using P = Panel<CELL>;
  using Base::call, Base::panels, Base::units, Base::wide, Base::width, Base::W, Base::NV, Base::PER, Base::TWO;
  void (*point)(const Step<T>&);
  int64_t groups, input_wide, back_size, input_back_size, sums_size;
  Buffer<T> hh, ih, sums;

 public:
  Backward(const Call& c, void (*f)(const Step<T>&))
      : Base(c), point(f), groups(std::min<int64_t>(this->tiles, 8)), input_wide(c.dx ? round_up(c.I, TWO) : 0),
        back_size(wide * panels * P::H_COUNT * W), input_back_size(input_wide * panels * P::X_COUNT * W),
        sums_size(panels * W * (P::H_COUNT * c.H + P::X_COUNT * c.I + NV)), hh(c.M * back_size),
        ih(c.M * input_back_size), sums(c.M * groups * sums_size) {
    for (int64_t m = 0; m < c.M; ++m) {
      pack_back(*this, P::H_GATES, as<T>(c.weight_hh) + m * P::GATES * c.H * c.H, c.H, hh + m * back_size);
      if (c.dx)
        pack_back(*this, P::X_GATES, as<T>(c.weight_ih) + m * P::GATES * c.H * c.I, c.I, ih + m * input_back_size);
    }
  }
  int64_t tasks() const { return call.M * groups; }

  void operator()(int64_t task) const {
    std::fill_n(sums + task * sums_size, sums_size, T(0));
    for (int64_t i = task % groups; i < this->tiles; i += groups)
      through_time(Tile<T, CELL>(*this, task / groups, i), sums + task * sums_size);
  }

  void through_time(const Tile<T, CELL>& tile, T* total) const {
    const int64_t rows = tile.rows, H = call.H, I = call.I, state = rows * units;
    const int64_t chunk = std::min<int64_t>(call.T, std::max<int64_t>(1, 64 / rows)), ring_rows = chunk * rows;
    Buffer<T> buffer(3 * rows * wide + rows * input_wide + ring_rows * (width + I));
    buffer.clear(3 * rows * wide + rows * input_wide);
    T *dh = buffer, *dc = dh + rows * wide, *back = dc + rows * wide, *dx = back + rows * wide;
    T *ring = dx + rows * input_wide, *inputs = ring + ring_rows * width;
    Buffer<uint8_t> valid(rows);
    Buffer<int64_t> since(rows);    // a row's first valid step
    since.clear(rows);
    if (call.mask)
      for (int64_t r = 0; r < rows; ++r)
        while (since[r] < call.T && !tile.valid(call, r, this->input_step(since[r]))) ++since[r];
    start(dh, call.dh_last, tile);
    if (CELL == LSTM) start(dc, call.dc_last, tile);
    const T* keep = call.recurrent_mask ? as<T>(call.recurrent_mask) + tile.base * H : nullptr;
    for (int64_t end = call.T, t = end - 1; t >= 0; --t) {
      const int64_t begin = std::max<int64_t>(0, end - chunk), now = this->input_step(t);
      if (call.dy && (!call.last_only || t == call.T - 1))
        for (int64_t r = 0; r < rows; ++r)
          if (since[r] <= t) add_output(dh + r * wide, tile.base + r, t);
      if (call.mask)
        for (int64_t r = 0; r < rows; ++r) valid[r] = tile.valid(call, r, now);
      T* d = ring + (t - begin) * rows * NV * W;    // of a panel; those of the next lie ring_rows further
      for (int64_t p = 0; p < panels; ++p) {
        Step<T> s{};
        s.rows = rows, s.units = units, s.wide = wide, s.gates = tile.gates + (t * panels + p) * rows * NV * W;
        s.h_before = tile.h + t * state + p * PER, s.h = tile.h + (t + 1) * state + p * PER;
        s.c_before = tile.c + t * state + p * PER, s.c = tile.c + (t + 1) * state + p * PER;
        s.dh = dh + p * PER, s.dc = dc + p * PER, s.dgates = d + p * ring_rows * NV * W;
        s.valid = call.mask ? valid : static_cast<uint8_t*>(nullptr);
        point(s);
      }
      T* to = keep ? back : dh;
      if (keep) std::fill_n(back, rows * wide, T(0));
      times_weights<P::H_COUNT>(d + P::H_FROM * W, ring_rows, hh + tile.member * back_size, to, wide, rows);
      if (keep)
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t j = 0; j < H; ++j) dh[r * wide + j] += back[r * wide + j] * keep[r * H + j];
      if (call.dx) {
        std::fill_n(dx, rows * input_wide, T(0));
        times_weights<P::X_COUNT>(d, ring_rows, ih + tile.member * input_back_size, dx, input_wide, rows);
        for (int64_t r = 0; r < rows; ++r)
          std::copy_n(dx + r * input_wide, I, as<T>(call.dx) + ((tile.base + r) * call.T + now) * I);
      }
      const T* x = tile.input(call, now);
      for (int64_t r = 0; r < rows; ++r) {
        T* line = inputs + ((t - begin) * rows + r) * I;
        if (call.mask && !valid[r])
          std::fill_n(line, I, T(0));    // what is skipped may be anything, NaN too
        else
          std::copy_n(x + r * call.x_batch, I, line);
      }
      if (t == begin) {
        weights((keep ? tile.dropped : tile.h) + begin * state, inputs, ring, (end - begin) * rows, ring_rows, total);
        end = begin;
      }
    }
    finish(dh, call.dh0, tile);
    if (CELL == LSTM) finish(dc, call.dc0, tile);
  }

  void add_output(T* dh, int64_t row, int64_t t) const {
    const T* dy = as<T>(call.dy) + (call.last_only ? row : row * call.T + t) * call.H;
    for (int64_t j = 0; j < call.H; ++j) dh[j] += dy[j];
  }

  // to (rows, wide) += the gates' gradients of a step times the weights.
  template <int COUNT>
  void times_weights(const T* d, int64_t ring_rows, const T* packed, T* to, int64_t ld, int64_t rows) const {
    for (int64_t q = 0; q < ld; q += TWO)
      in_blocks(Product<T, PAIR>{d, NV * W, 1, ring_rows * NV * W, packed + q * panels * COUNT * W, TWO, COUNT * W * TWO,
                                 COUNT * W, panels, to + q, ld},
                rows);
  }

  // The gradients of the weights from `count` rows of inputs, of h(t-1) and of gates' gradients.
  void weights(const T* h, const T* x, const T* ring, int64_t count, int64_t ring_rows, T* total) const {
    static constexpr T one = 1;
    const int64_t H = call.H, I = call.I;
    T *to_hh = total, *to_ih = to_hh + panels * P::H_COUNT * W * H, *to_bias = to_ih + panels * P::X_COUNT * W * I;
    for (int64_t p = 0; p < panels; ++p) {
      constexpr int HW = P::H_COUNT * W, XW = P::X_COUNT * W;
      const T* d = ring + p * ring_rows * NV * W;
      in_blocks(Product<T, P::H_COUNT>{h, 1, units, 0, d + P::H_FROM * W, NV * W, 0, count, 1, to_hh + p * H * HW, HW}, H);
      in_blocks(Product<T, P::X_COUNT>{x, 1, I, 0, d, NV * W, 0, count, 1, to_ih + p * I * XW, XW}, I);
      in_blocks(Product<T, NV>{&one, 0, 0, 0, d, NV * W, 0, count, 1, to_bias + p * NV * W, NV * W}, 1);
    }
  }

  void start(T* d, const void* given, const Tile<T, CELL>& tile) const {
    if (given)
      for (int64_t r = 0; r < tile.rows; ++r)
        std::copy_n(as<T>(given) + (tile.base + r) * call.H, call.H, d + r * wide);
  }
  void finish(const T* d, void* to, const Tile<T, CELL>& tile) const {
    if (to)
      for (int64_t r = 0; r < tile.rows; ++r)
        std::copy_n(d + r * wide, call.H, as<T>(to) + (tile.base + r) * call.H);
  }

  // The groups' sums, added in their order, in the layout of the weights.
  void reduce() const {
    const int64_t H = call.H, I = call.I;
    for (int64_t m = 0; m < call.M; ++m) {
      T* total = sums + m * groups * sums_size;
      for (int64_t g = 1; g < groups; ++g)
        for (int64_t i = 0; i < sums_size; ++i) total[i] += total[g * sums_size + i];
      const T *ih_sum = total + panels * P::H_COUNT * W * H, *bias_sum = ih_sum + panels * P::X_COUNT * W * I;
      const int64_t rows = m * P::GATES * H;
      if (call.dweight_hh) unpack_gates(*this, P::H_GATES, total, H, as<T>(call.dweight_hh) + rows * H);
      if (call.dweight_ih) unpack_gates(*this, P::X_GATES, ih_sum, I, as<T>(call.dweight_ih) + rows * I);
      if (call.dbias) take_bias(P::X_GATES, bias_sum, as<T>(call.dbias) + rows);
      if (call.dbias_hh) take_bias(P::H_GATES, bias_sum + P::H_FROM * W, as<T>(call.dbias_hh) + rows);
    }
  }
  template <int COUNT> void take_bias(const int (&gates)[COUNT], const T* sum, T* to) const {
    for (int64_t p = 0; p < panels; ++p)
      for (int v = 0; v < COUNT; ++v)
        for (int64_t lane = 0; lane < W; ++lane) {
          const int64_t unit = p * PER + (CELL == SIMPLE_RNN ? v * W : 0) + lane;
          if (unit < call.H) to[gates[v] * call.H + unit] = sum[(p * NV + v) * W + lane];
        }
  }
};

template <class Work> void run_tasks(const Work& work, const Call& call) {
  parallel(work.tasks(), call.threads,
           [](void* context, int64_t task) { (*static_cast<const Work*>(context))(task); }, const_cast<Work*>(&work));
}

template <class T, int CELL> void forward_of(const Call& call) {
  void (*const points[])(const Step<T>&) = {Points<T, CELL, TANH>::forward, Points<T, CELL, RELU>::forward,
                                            Points<T, CELL, LINEAR>::forward, Points<T, CELL, SIGMOID>::forward};
  run_tasks(Forward<T, CELL>(call, points[call.activation]), call);
}
template <class T, int CELL> void backward_of(const Call& call) {
  void (*const points[])(const Step<T>&) = {Points<T, CELL, TANH>::backward, Points<T, CELL, RELU>::backward,
                                            Points<T, CELL, LINEAR>::backward, Points<T, CELL, SIGMOID>::backward};
  const Backward<T, CELL> work(call, points[call.activation]);
  run_tasks(work, call);
  work.reduce();
}

#define BY_CELL(function) \
  switch (call.cell) { \
    case LSTM: return function<T, LSTM>(call); \
    case GRU: return function<T, GRU>(call); \
    default: return function<T, SIMPLE_RNN>(call); \
  }

template <class T> void forward(const Call& call) { BY_CELL(forward_of) }
template <class T> void backward(const Call& call) { BY_CELL(backward_of) }

template <class T> void evaluate(int64_t function, const void* x, void* y, int64_t n) {
  for (int64_t i = 0; i < n; i += WIDTH<T>) {
    const Vec<T> v = load(as<T>(x) + i);
    store(as<T>(y) + i, function == 0 ? exponential<T>(v) : function == 1 ? sigmoid<T>(v) : hyperbolic_tangent<T>(v));
  }
}

extern const Kernels kernels32, kernels64;
const Kernels kernels32 = {UNROLLED_BYTES, forward<float>, backward<float>, evaluate<float>};
const Kernels kernels64 = {UNROLLED_BYTES, forward<double>, backward<double>, evaluate<double>};

}    // namespace UNROLLED_NAMESPACE
