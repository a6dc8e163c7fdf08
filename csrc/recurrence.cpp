// The recurrence over whole sequences, forward and backward, for one instruction set.
//
// Rows of a batch are independent through time: a tile of them goes through all steps on one thread, with the
// weights hot in its cache. Tiles and packed weights: plan.h. What happens at one step: cells.h, staged.h.
#include "recurrence.h"

#include <algorithm>

#include "cells.h"
#include "dense.h"
#include "plan.h"
#include "product.h"
#include "products.h"
#include "staged.h"
#include "vector.h"

namespace UNROLLED_NAMESPACE {

// What happens at a step: panel by panel, or in stages.
template <class T> struct Functions {
  void (*point)(const Step<T>&);
  void (*stage)(const Stage<T>&);
  void (*rest)(const Stage<T>&);
};
template <class T, int CELL, int ACT> Functions<T> functions_of(std::true_type /* forward */) {
  return {Points<T, CELL, ACT>::forward, Staged<T, CELL, ACT>::forward, Staged<T, CELL, ACT>::forward_rest};
}
template <class T, int CELL, int ACT> Functions<T> functions_of(std::false_type) {
  return {Points<T, CELL, ACT>::backward, Staged<T, CELL, ACT>::backward, Staged<T, CELL, ACT>::backward_rest};
}
template <class T, int CELL, class Forwards> Functions<T> functions_of(const Call& call, Forwards way) {
  switch (call.activation) {
    case RELU: return functions_of<T, CELL, RELU>(way);
    case LINEAR: return functions_of<T, CELL, LINEAR>(way);
    case SIGMOID: return functions_of<T, CELL, SIGMOID>(way);
    default: return functions_of<T, CELL, TANH>(way);
  }
}

// The sums of a panel's gates: its bias, the input's product and the recurrence's, through registers once; where there
// are many units, a part of them at a time, whose weights stay in a cache while all rows go by.
template <class T, int CELL> struct GateSums {
  using P = Panel<CELL>;
  static constexpr int W = WIDTH<T>, NV = P::VECTORS, MOST = ROWS<NV>;
  static constexpr int64_t SOME = PART<T> / (P::H_COUNT * W);
  const T *x, *h, *weight_ih, *weight_hh, *bias;
  int64_t x_row, h_row, I, H;
  T* sums;
  Prefetch<T>* prefetch;

  void of(int64_t rows) const {
    GateSums part = *this;
    part.H = is_large<T, CELL>(H) ? SOME : H;
    in_blocks(part, rows);
    for (int64_t k = part.H; k < H; k += SOME) {
      part.h = h + k, part.weight_hh = weight_hh + k * P::H_COUNT * W, part.H = std::min(SOME, H - k);
      in_blocks(MoreSums{part}, rows);
    }
  }
  template <int R> static void run(const GateSums& f, int64_t from) {
    Vec<T> sums[R][NV];
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[r][v] = load(f.bias + v * W);
    f.prefetch->fetch();
    multiply<0, P::X_COUNT>(sums, f.x + from * f.x_row, f.x_row, 1, f.weight_ih, P::X_COUNT * W, f.I);
    f.prefetch->fetch();
    multiply<P::H_FROM, P::H_COUNT>(sums, f.h + from * f.h_row, f.h_row, 1, f.weight_hh, P::H_COUNT * W, f.H);
    f.keep(sums, from);
  }
  template <int R> INLINE void keep(Vec<T> (&found)[R][NV], int64_t from) const {
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store(sums + (from + r) * NV * W + v * W, found[r][v]);
  }

  struct MoreSums {    // of further units, added to what was kept
    GateSums part;
    static constexpr int MOST = GateSums::MOST;
    template <int R> static void run(const MoreSums& more, int64_t from) {
      const GateSums& f = more.part;
      Vec<T> sums[R][NV];
#pragma GCC unroll 24
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums[r][v] = load(f.sums + (from + r) * NV * W + v * W);
      multiply<P::H_FROM, P::H_COUNT, true>(sums, f.h + from * f.h_row, f.h_row, 1, f.weight_hh, P::H_COUNT * W, f.H,
                                            f.weight_hh + f.H * (P::H_COUNT + from / MOST) * W);
      f.keep(sums, from);
    }
  };
};

template <class T, int CELL> class Forward : Plan<T, CELL> {
  using Base = Plan<T, CELL>;
  using P = Panel<CELL>;
  using Base::call, Base::panels, Base::units, Base::width, Base::W, Base::NV, Base::PER;
  Functions<T> functions;
  Buffer<T> ih, hh, nh, bias;    // of all members, packed; nh: of n, where the reset comes before the product
  StageWeights<T, CELL> stage;
  const bool direct;    // a few steps of a few rows: packing the weights would cost more than it saves

 public:
  Forward(const Call& c, Functions<T> f)
      : Base(c), functions(f), ih(is_direct(c) ? 0 : c.M * packed_ih()), hh(is_direct(c) ? 0 : c.M * packed_hh()),
        nh(CELL == GRU_BEFORE ? c.M * panels * W * c.H : 0), bias(c.M * width), stage(*this), direct(is_direct(c)) {
    ask_for_large_pages(c.saved, c.saved ? c.saved_size * sizeof(T) : 0);
    if (c.y) ask_for_large_pages(c.y, c.M * c.B * (c.last_only ? 1 : c.T) * c.H * sizeof(T));
    bias.clear(c.M * width);
    for (int64_t m = 0; m < c.M; ++m) {
      if (c.bias) add_bias(P::X_GATES, as<T>(c.bias) + m * P::GATES * c.H, bias + m * width);
      if (c.bias_hh) add_bias(P::H_GATES, as<T>(c.bias_hh) + m * P::GATES * c.H, bias + m * width + P::H_FROM * W);
      if (direct) continue;
      pack_gates(*this, P::X_GATES, as<T>(c.weight_ih) + m * P::GATES * c.H * c.I, c.I, ih + m * packed_ih());
      pack_gates(*this, P::H_GATES, as<T>(c.weight_hh) + m * P::GATES * c.H * c.H, c.H, hh + m * packed_hh());
      if constexpr (CELL == GRU_BEFORE)
        pack_gates(*this, P::N_GATES, as<T>(c.weight_hh) + m * P::GATES * c.H * c.H, c.H, nh + m * panels * W * c.H);
    }
  }
  bool is_direct(const Call& c) const { return !c.saved && !this->staged() && c.B * c.T <= 4; }
  int64_t packed_ih() const { return panels * P::X_COUNT * W * call.I; }
  int64_t packed_hh() const { return panels * P::H_COUNT * W * call.H; }

  template <int COUNT> void add_bias(const int (&gates)[COUNT], const T* b, T* to) const {
    each_line(*this, gates, NV, 1, [=](int64_t at, int64_t first, int64_t lanes) {
      for (int64_t lane = 0; lane < lanes; ++lane) to[at + lane] += b[first + lane];
    });
  }

  // Adds the products of a vector with the weights as they lie, (G·H, K), to the sums of a row's gates.
  template <int COUNT>
  void add_products(const int (&gates)[COUNT], const T* w, const T* v, int64_t K, T* to, int64_t rows) const {
    const int64_t whole = K / W * W;
    each_line(*this, gates, rows * NV, 1, [=](int64_t at, int64_t first, int64_t lanes) {
      Vec<T> parts[W] = {};
      T rest[W] = {};
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const T* row = w + (first + lane) * K;
        for (int64_t k = 0; k < whole; k += W) parts[lane] += load(row + k) * load(v + k);
        for (int64_t k = whole; k < K; ++k) rest[lane] += row[k] * v[k];
      }
      store(to + at, load(to + at) + sums_of<T>(parts) + load(rest));
    });
  }
  void direct_sums(int64_t member, int64_t rows, const T* x, const T* h, T* gates) const {
    const int64_t H = call.H, I = call.I, weights = member * P::GATES * H;
    for (int64_t r = 0; r < rows; ++r) {
      T* to = gates + r * NV * W;
      for (int64_t p = 0; p < panels; ++p) copy(bias + member * width + p * NV * W, NV * W, to + p * rows * NV * W);
      add_products(P::X_GATES, as<T>(call.weight_ih) + weights * I, x + r * call.x_batch, I, to, rows);
      add_products(P::H_GATES, as<T>(call.weight_hh) + weights * H, h + r * units, H, to + P::H_FROM * W, rows);
    }
  }

  int64_t tasks() const { return call.M * this->tiles; }

  void operator()(int64_t task) const {
    Tile<T, CELL> tile(*this, task / this->tiles, task % this->tiles);
    const int64_t rows = tile.rows, H = call.H, state = rows * units;
    const bool saves = call.saved != nullptr;
    const int64_t norm_step = this->norm_size / call.T * rows;
    Buffer<T> scratch(rows * width + 9 * state + norm_step);
    scratch.clear(rows * width + 9 * state);
    T *reset = scratch + rows * width, *lines = reset + state, *rest = lines + state;
    if (!saves) tile.h = rest, tile.c = rest + 2 * state, tile.dropped = rest + 4 * state;
    // where step t's state lies: in training one after the other, in inference in turns
    auto at = [&](T* states, int64_t t) { return states + (saves ? t : t % 2) * state; };
    start(tile.h, call.h0, tile);
    if (CELL == LSTM) start(tile.c, call.c0, tile);
    const T* keep = tile.kept(call, units, rest + 6 * state);
    Buffer<int64_t> seen(rows);    // whether a row has had a valid step
    seen.clear(rows);
    for (int64_t t = 0; t < call.T; ++t) {
      T *before = at(tile.h, t), *h = at(tile.h, t + 1), *c_before = at(tile.c, t), *c = at(tile.c, t + 1);
      for (int64_t i = 0; keep && i < state; i += W) store(at(tile.dropped, t) + i, load(before + i) * load(keep + i));
      const T* from = keep ? at(tile.dropped, t) : before;
      const int64_t now = this->input_step(t), active = tile.active(call, now);
      T* gates = saves && CELL != SIMPLE_RNN ? tile.gates + t * rows * width : scratch;
      Prefetch<T> prefetch = tile.step(*this, t + 1, t + 2, call.y, 2 * panels * blocks<GateSums<T, CELL>>(active));
      if (direct) direct_sums(tile.member, rows, tile.input(call, now), from, gates);
      const bool all = direct || this->staged() || (saves && CELL != SIMPLE_RNN);    // else a panel's gates live no longer than it
      for (int64_t p = 0; p < panels; ++p) {
        T* sums = gates + (all ? p * rows * NV * W : 0);
        const GateSums<T, CELL> f{tile.input(call, now), from, ih + (tile.member * panels + p) * P::X_COUNT * W * call.I,
                                  hh + (tile.member * panels + p) * P::H_COUNT * W * H, bias + (tile.member * panels + p) * NV * W,
                                  call.x_batch, units, call.I, H, sums, &prefetch};
        if (!direct) f.of(active);
        if (this->staged()) continue;
        Step<T> s{};
        s.rows = active, s.units = units, s.gates = sums;
        s.h_before = before + p * PER, s.h = h + p * PER, s.c_before = c_before + p * PER, s.c = c + p * PER;
        functions.point(s);
      }
      if (this->staged()) {
        Stage<T> s{};
        s.rows = active, s.units = units, s.gates = gates, s.h_before = before, s.h = h, s.c_before = c_before, s.c = c;
        s.panels = panels, s.panel = rows * NV * W, s.share = T(1) / H, s.real = stage.real;
        s.kept = from, s.reset = reset, s.lines = lines;
        this->set_norm(s, tile.member, rows, stage, saves ? tile.norm + t * norm_step : rest + 7 * state);
        functions.stage(s);
        if constexpr (CELL == GRU_BEFORE) {
          for (int64_t p = 0; p < panels; ++p)
            in_blocks(Product<T, 1>{reset, units, 1, 0, nh + (tile.member * panels + p) * W * H, W, 0, H, 1,
                                    gates + p * rows * NV * W, NV * W},
                      active);
          functions.rest(s);
        }
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
      if (call.y && (!call.last_only || t == call.T - 1))
        for (int64_t r = 0; r < rows; ++r) {
          T* y = as<T>(call.y) + tile.output(call, r, t) * H;
          if (call.mask && !seen[r])
            std::fill_n(y, H, T(0));
          else
            copy(h + r * units, H, y);
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
    if (!last) return;
    for (int64_t r = 0; r < tile.rows; ++r)
      std::copy_n(state + r * units, call.H, as<T>(last) + (tile.base + r) * call.H);
  }
};

// A group of tiles goes through time backwards and sums the gradients of the weights.
template <class T, int CELL> class Backward : Plan<T, CELL> {
  using Base = Plan<T, CELL>;
  using P = Panel<CELL>;
  using Base::call, Base::panels, Base::units, Base::wide, Base::width, Base::W, Base::NV, Base::PER, Base::TWO;
  static constexpr bool BEFORE = CELL == GRU_BEFORE;
  Functions<T> functions;
  int64_t groups, input_wide, back_size, input_back_size, sums_size;
  Buffer<T> hh, ih, nh, sums;
  StageWeights<T, CELL> stage;

 public:
  Backward(const Call& c, Functions<T> f)
      : Base(c), functions(f), groups(std::min<int64_t>(this->tiles, 8)), input_wide(c.dx ? round_up(c.I, TWO) : 0),
        back_size(wide * panels * P::H_COUNT * W), input_back_size(input_wide * panels * P::X_COUNT * W),
        sums_size(panels * W * ((P::H_COUNT + BEFORE) * c.H + P::X_COUNT * c.I + NV) +
                  (c.norm_weight ? 2 * this->norms() * units : 0)),
        hh(c.M * back_size), ih(c.M * input_back_size), nh(BEFORE * c.M * wide * panels * W),
        sums(c.M * groups * sums_size), stage(*this) {
    for (int64_t m = 0; m < c.M; ++m) {
      pack_back(*this, P::H_GATES, as<T>(c.weight_hh) + m * P::GATES * c.H * c.H, c.H, hh + m * back_size);
      if constexpr (BEFORE)
        pack_back(*this, P::N_GATES, as<T>(c.weight_hh) + m * P::GATES * c.H * c.H, c.H, nh + m * wide * panels * W);
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
    const int64_t chunk = std::min<int64_t>(call.T, std::max<int64_t>(1, 128 / rows)), ring_rows = chunk * rows;
    const int64_t norm_step = this->norm_size / call.T * rows;
    Buffer<T> buffer(5 * rows * wide + rows * (input_wide + units) + ring_rows * (width + I + BEFORE * units));
    buffer.clear(5 * rows * wide + rows * (input_wide + units));
    T *dh = buffer, *dc = dh + rows * wide, *back = dc + rows * wide, *dreset = back + rows * wide;
    T *kept = dreset + rows * wide, *dx = kept + rows * wide, *lines = dx + rows * input_wide, *ring = lines + rows * units;
    T *inputs = ring + ring_rows * width, *resets = inputs + ring_rows * I;
    if (BEFORE) std::fill_n(resets, ring_rows * units, T(0));
    Buffer<uint8_t> valid(rows);
    Buffer<int64_t> actives(chunk);
    Buffer<int64_t> since(rows);    // a row's first valid step
    since.clear(rows);
    if (call.mask)
      for (int64_t r = 0; r < rows; ++r)
        while (since[r] < call.T && !tile.valid(call, r, this->input_step(since[r]))) ++since[r];
    const bool learns = call.dweight_ih || call.dweight_hh || call.dbias || call.dbias_hh;
    start(dh, call.dh_last, tile);
    if (CELL == LSTM) start(dc, call.dc_last, tile);
    const T* keep = tile.kept(call, wide, kept);
    for (int64_t end = call.T, t = end - 1; t >= 0; --t) {
      const int64_t begin = std::max<int64_t>(0, end - chunk), now = this->input_step(t);
      const int64_t active = tile.active(call, now);
      actives[t - begin] = active;
      if (call.dy && (!call.last_only || t == call.T - 1))
        for (int64_t r = 0; r < rows; ++r)
          if (since[r] <= t) add_output(dh + r * wide, as<T>(call.dy) + tile.output(call, r, t) * H);
      if (call.mask)
        for (int64_t r = 0; r < rows; ++r) valid[r] = tile.valid(call, r, now);
      Prefetch<T> prefetch = tile.step(*this, t - 1, t - 1, call.dy, wide / TWO * blocks<Product<T, PAIR, NV * W>>(active) * panels);
      T* d = ring + (t - begin) * rows * NV * W;    // of a panel; those of the next lie ring_rows further
      T* to = keep ? back : dh;
      if (keep) std::fill_n(back, rows * wide, T(0));
      Stage<T> s{};
      s.rows = active, s.units = units, s.wide = wide, s.gates = tile.gates + t * panels * rows * NV * W;
      s.h_before = tile.h + t * state, s.h = tile.h + (t + 1) * state;
      s.c_before = tile.c + t * state, s.c = tile.c + (t + 1) * state;
      s.dh = dh, s.dc = dc, s.dgates = d;
      s.valid = call.mask ? valid : static_cast<uint8_t*>(nullptr);
      if (this->staged()) {
        s.panels = panels, s.panel = rows * NV * W, s.dpanel = ring_rows * NV * W, s.share = T(1) / H, s.real = stage.real;
        s.kept = (keep ? tile.dropped : tile.h) + t * state, s.reset = resets + (t - begin) * rows * units;
        s.dreset = dreset, s.dkept = to, s.lines = lines;
        this->set_norm(s, tile.member, rows, stage, tile.norm + t * norm_step);
        s.dgain = total + sums_size - 2 * this->norms() * units, s.dshift = s.dgain + this->norms() * units;
        functions.stage(s);
        clear_padding(d, ring_rows, active);
        if constexpr (BEFORE) {
          std::fill_n(dreset, rows * wide, T(0));
          times_weights<1>(d, ring_rows, nh + tile.member * wide * panels * W, dreset, wide, active);
          functions.rest(s);
          clear_padding(d, ring_rows, active);
        }
      } else {
        for (int64_t p = 0; p < panels; ++p) {
          functions.point(s);
          s.gates += rows * NV * W, s.dgates += ring_rows * NV * W;
          s.h_before += PER, s.h += PER, s.c_before += PER, s.c += PER, s.dh += PER, s.dc += PER;
        }
        clear_padding(d, ring_rows, active);
      }
      times_weights<P::H_COUNT>(d + P::H_FROM * W, ring_rows, hh + tile.member * back_size, to, wide, active, &prefetch);
      for (int64_t i = 0; keep && i < rows * wide; i += W) store(dh + i, load(dh + i) + load(back + i) * load(keep + i));
      if (call.dx) {
        std::fill_n(dx, rows * input_wide, T(0));
        times_weights<P::X_COUNT>(d, ring_rows, ih + tile.member * input_back_size, dx, input_wide, active);
        for (int64_t r = 0; r < rows; ++r)
          copy(dx + r * input_wide, I, as<T>(call.dx) + tile.line(call, r, now) * I);
      }
      const T* x = tile.input(call, now);
      for (int64_t r = 0; learns && r < rows; ++r) {
        T* line = inputs + ((t - begin) * rows + r) * I;
        if (call.mask && !valid[r])
          std::fill_n(line, I, T(0));    // what is skipped may be anything, NaN too
        else
          copy(x + r * call.x_batch, I, line);
      }
      if (t == begin) {
        // All steps of the chunk at once, or one by one where rows are left out.
        const T* h = (keep ? tile.dropped : tile.h) + begin * state;
        const int64_t steps = end - begin;
        const bool whole = std::all_of(actives + int64_t(0), actives + steps, [&](int64_t n) { return n == rows; });
        for (int64_t i = 0; learns && i < (whole ? 1 : steps); ++i)
          weights(h + i * state, resets + i * rows * units, inputs + i * rows * I, ring + i * rows * NV * W,
                  whole ? steps * rows : actives[i], ring_rows, total);
        end = begin;
      }
    }
    finish(dh, call.dh0, tile);
    if (CELL == LSTM) finish(dc, call.dc0, tile);
  }

  void add_output(T* dh, const T* dy) const {
    int64_t j = 0;
    for (; j + W <= call.H; j += W) store(dh + j, load(dh + j) + load(dy + j));
    for (; j < call.H; ++j) dh[j] += dy[j];
  }

  // Zeros where lanes are no units: an infinite x leaves NaN there, which a product with weights of 0 would spread.
  void clear_padding(T* d, int64_t ring_rows, int64_t rows) const {
    if (units == call.H) return;
    T* last = d + (panels - 1) * ring_rows * NV * W;
    const T* real = stage.real + (panels - 1) * PER;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < NV; ++v) {
        T* at = last + (r * NV + v) * W;
        store(at, load(real + (CELL == SIMPLE_RNN ? v * W : 0)) > 0 ? load(at) : Vec<T>{});
      }
  }

  // to (rows, wide) += the gates' gradients of a step times the weights.
  template <int COUNT>
  void times_weights(const T* d, int64_t ring_rows, const T* packed, T* to, int64_t ld, int64_t rows,
                     Prefetch<T>* prefetch = nullptr) const {
    constexpr int64_t size = COUNT * W * TWO;    // of a panel's weights
    for (int64_t q = 0; q < ld; q += TWO, packed += panels * size) {
      Product<T, PAIR, NV * W> all{d, NV * W, 1, ring_rows * NV * W, packed, TWO, size, COUNT * W, panels, to + q, ld, prefetch};
      if (is_large<T, CELL>(call.H))
        in_parts(all, std::max<int64_t>(1, PART<T> / size), rows);
      else
        in_blocks(all, rows);
    }
  }

  // The gradients of the weights from `count` rows of inputs, of h(t-1) and of gates' gradients.
  void weights(const T* h, const T* reset, const T* x, const T* ring, int64_t count, int64_t ring_rows, T* total) const {
    static constexpr T one = 1;
    if (count == 0) return;
    const int64_t H = call.H, I = call.I;
    T *to_hh = total, *to_ih = to_hh + panels * P::H_COUNT * W * H, *to_bias = to_ih + panels * P::X_COUNT * W * I;
    T* to_nh = to_bias + width;
    for (int64_t p = 0; p < panels; ++p) {
      constexpr int HW = P::H_COUNT * W, XW = P::X_COUNT * W;
      const T* d = ring + p * ring_rows * NV * W;
      const Product<T, P::H_COUNT, 1> recurrent{h, 1, units, 0, d + P::H_FROM * W, NV * W, 0, count, 1, to_hh + p * H * HW, HW};
      is_large<T, CELL>(H) ? in_blocks(Fetching<T, P::H_COUNT, 1>{recurrent, nullptr}, H) : in_blocks(recurrent, H);
      if (BEFORE) in_blocks(Product<T, 1, 1>{reset, 1, units, 0, d, NV * W, 0, count, 1, to_nh + p * H * W, W}, H);
      in_blocks(Product<T, P::X_COUNT, 1>{x, 1, I, 0, d, NV * W, 0, count, 1, to_ih + p * I * XW, XW}, I);
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
      if constexpr (BEFORE)
        if (call.dweight_hh) unpack_gates(*this, P::N_GATES, bias_sum + width, H, as<T>(call.dweight_hh) + rows * H);
      const T* norm_sum = total + sums_size - 2 * this->norms() * units;
      for (int64_t i = 0; i < this->norms() && call.dnorm_weight; ++i)
        std::copy_n(norm_sum + i * units, H, as<T>(call.dnorm_weight) + (m * this->norms() + i) * H);
      for (int64_t i = 0; i < this->norms() && call.dnorm_bias; ++i)
        std::copy_n(norm_sum + (this->norms() + i) * units, H, as<T>(call.dnorm_bias) + (m * this->norms() + i) * H);
      if (call.dweight_ih) unpack_gates(*this, P::X_GATES, ih_sum, I, as<T>(call.dweight_ih) + rows * I);
      if (call.dbias) take_bias(P::X_GATES, bias_sum, as<T>(call.dbias) + rows);
      if (call.dbias_hh) take_bias(P::H_GATES, bias_sum + P::H_FROM * W, as<T>(call.dbias_hh) + rows);
    }
  }
  template <int COUNT> void take_bias(const int (&gates)[COUNT], const T* sum, T* to) const {
    each_line(*this, gates, NV, 1, [=](int64_t at, int64_t first, int64_t lanes) {
      for (int64_t lane = 0; lane < lanes; ++lane) to[first + lane] = sum[at + lane];
    });
  }
};

template <class Work> void run_tasks(const Work& work, const Call& call) {
  // A small call is over before another thread has woken up.
  const bool small = call.M * call.B * call.T * call.H * (call.H + call.I) < 100000;
  parallel(work.tasks(), small ? 1 : call.threads,
           [](void* context, int64_t task) { (*static_cast<const Work*>(context))(task); }, const_cast<Work*>(&work));
}

template <class T, int CELL> void forward_of(const Call& call) {
  run_tasks(Forward<T, CELL>(call, functions_of<T, CELL>(call, std::true_type{})), call);
}
template <class T, int CELL> void backward_of(const Call& call) {
  const Backward<T, CELL> work(call, functions_of<T, CELL>(call, std::false_type{}));
  run_tasks(work, call);
  work.reduce();
}

#define BY_CELL(function) \
  switch (call.cell) { \
    case LSTM: return function<T, LSTM>(call); \
    case GRU: return function<T, GRU>(call); \
    case GRU_BEFORE: return function<T, GRU_BEFORE>(call); \
    default: return function<T, SIMPLE_RNN>(call); \
  }

template <class T> void forward(const Call& call) { BY_CELL(forward_of) }
template <class T> void backward(const Call& call) { BY_CELL(backward_of) }

template <class T> void evaluate(int64_t function, const void* x, void* y, int64_t n) {
  auto f = [=](auto& v) { function == 0 ? exponential<T>(v) : function == 1 ? sigmoid<T>(v) : hyperbolic_tangent<T>(v); };
  abreast(f, n / WIDTH<T>, as<T>(x), WIDTH<T>, as<T>(y), WIDTH<T>);
}

extern const Kernels kernels32, kernels64;
const Kernels kernels32 = {UNROLLED_BYTES, forward<float>, backward<float>, dense<float>, products<float>, evaluate<float>};
const Kernels kernels64 = {UNROLLED_BYTES, forward<double>, backward<double>, dense<double>, products<double>, evaluate<double>};

}    // namespace UNROLLED_NAMESPACE
