// The loss and its slopes, and the way through a stack.
#include "stack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>
#include <type_traits>

namespace unrolled {
namespace {

// The loss of one output, K numbers y, and its slopes to d.
template <class T>
double loss_of(int64_t kind, const T* y, int64_t K, const void* target, int64_t at, const double* levels, T* d) {
  if (kind == CROSS_ENTROPY) {
    const int64_t right = static_cast<const int64_t*>(target)[at];
    if (right < 0 || right >= K) throw std::out_of_range("a class that the network has no output for");
    const T most = *std::max_element(y, y + K);
    double total = 0;
    for (int64_t k = 0; k < K; ++k) total += std::exp(double(y[k]) - most);
    for (int64_t k = 0; k < K; ++k) d[k] = T(std::exp(double(y[k]) - most) / total - (k == right));
    return std::log(total) + most - y[right];
  }
  const double t = static_cast<const T*>(target)[at];
  if (kind == PINBALL) {
    double total = 0;
    for (int64_t k = 0; k < K; ++k) {
      const double below = t - y[k];
      d[k] = T(((below > 0 ? 0 : 1) - levels[k]) / K);
      total += std::max(levels[k] * below, (levels[k] - 1) * below) / K;
    }
    return total + 0 * t;    // a target that is no number must not pass in silence
  }
  const double error = *y - t, size = std::abs(error);
  switch (kind) {
    case MSE: *d = T(2 * error); return error * error;
    case MAE: *d = T((error > 0) - (error < 0)); return size;
    case BINARY_CROSS_ENTROPY:
      *d = T(1 / (1 + std::exp(-double(*y))) - t);
      return std::max(double(*y), 0.0) - *y * t + std::log1p(std::exp(-std::abs(double(*y))));
    default: *d = T(std::clamp(error, -1.0, 1.0)); return size < 1 ? error * error / 2 : size - 0.5;
  }
}

// The mean loss, and its slopes.
template <class T> double loss_and_slopes(const LossCall& c) {
  int64_t count = c.outputs;
  if (c.counted) count = std::count_if(c.counted, c.counted + c.outputs, [](uint8_t f) { return f != 0; });
  count = std::max<int64_t>(count, 1);
  double total = 0;
  for (int64_t i = 0; i < c.outputs; ++i) {
    T* d = static_cast<T*>(c.dy) + i * c.K;
    if (c.counted && !c.counted[i]) {
      std::fill_n(d, c.K, T(0));
      continue;
    }
    total += loss_of(c.kind, static_cast<const T*>(c.y) + i * c.K, c.K, c.target, i, c.levels, d);
    for (int64_t k = 0; k < c.K; ++k) d[k] = T(d[k] / double(count));
  }
  return total / double(count);
}

template <class T> double square_sum(const T* x, int64_t n) {
  double total = 0;
  for (int64_t at = 0; at < n; at += 256) {    // short sums in their own type: as exact, and vectors do them
    T part[8] = {};
    const int64_t end = std::min(n, at + 256);
    int64_t i = at;
    for (; i + 8 <= end; i += 8)
      for (int j = 0; j < 8; ++j) part[j] += x[i + j] * x[i + j];
    for (; i < end; ++i) part[0] += x[i] * x[i];
    for (T sum : part) total += sum;
  }
  return total;
}

// The layers of a member, in the memory of a slot.
struct Place {
  int64_t member, slot, item;    // item: bytes of a number

  template <class P> void by_member(P*& p, int64_t size) const { shift(p, member * size); }
  template <class P> void by_slot(P*& p, int64_t size) const { shift(p, slot * size); }
  template <class P> void shift(P*& p, int64_t numbers) const {
    using Byte = std::conditional_t<std::is_const_v<P>, const char, char>;
    if (p) p = static_cast<P*>(static_cast<Byte*>(p) + numbers * item);
  }

  void move(Call& c, bool first) const {
    const int64_t gates = (c.cell == LSTM ? 4 : c.cell == SIMPLE_RNN ? 1 : 3) * c.H;
    const int64_t state = c.B * c.H, sequences = c.B * c.T * c.I, norms = gates + (c.cell == LSTM) * c.H;
    const int64_t y = c.last_only ? state : state * c.T;
    first ? by_member(c.x, sequences) : by_slot(c.x, sequences);
    by_member(c.weight_ih, gates * c.I), by_member(c.weight_hh, gates * c.H);
    by_member(c.bias, gates), by_member(c.bias_hh, gates);
    by_member(c.norm_weight, norms), by_member(c.norm_bias, norms), by_member(c.recurrent_mask, state);
    by_slot(c.y, y), by_slot(c.h_last, state), by_slot(c.c_last, state), by_slot(c.saved, c.saved_size);
    by_slot(c.dy, y), by_slot(c.dx, sequences);
    by_member(c.dweight_ih, gates * c.I), by_member(c.dweight_hh, gates * c.H);
    by_member(c.dbias, gates), by_member(c.dbias_hh, gates);
    by_member(c.dnorm_weight, norms), by_member(c.dnorm_bias, norms);
  }
  void move(Dense& d, bool first) const {
    first ? by_member(d.x, d.rows * d.in) : by_slot(d.x, d.rows * d.in);
    by_member(d.weight, d.out * d.in), by_member(d.bias, d.out);
    by_slot(d.y, d.rows * d.out), by_slot(d.dy, d.rows * d.out), by_slot(d.dx, d.rows * d.in);
    by_member(d.dweight, d.out * d.in), by_member(d.dbias, d.out);
  }
  void move(LossCall& l) const {
    by_slot(l.y, l.outputs * l.K), by_slot(l.dy, l.outputs * l.K);
    shift(l.target, member * l.outputs * (l.kind == CROSS_ENTROPY ? 8 / item : 1));
    if (l.counted) l.counted += member * l.outputs;
  }
};

struct Step {
  const Stack& stack;
  const Kernels& kernels;
  int64_t threads;    // of a member's own calls
  double *losses, *norms;
  std::vector<std::atomic<bool>> taken;    // the slots in use

  void operator()(int64_t m) {
    int64_t slot = 0;
    while (taken[slot].exchange(true)) slot = (slot + 1) % taken.size();
    const Place place{m, slot, stack.wide ? 8 : 4};
    std::vector<Stack::Layer> layers = stack.layers;
    LossCall loss = stack.loss;
    place.move(loss);
    for (Stack::Layer& layer : layers) {
      const bool first = &layer == layers.data();
      layer.forward.threads = layer.backward.threads = threads;
      if (layer.recurrent)
        place.move(layer.forward, first), place.move(layer.backward, first);
      else
        place.move(layer.dense, first);
      layer.recurrent ? kernels.forward(layer.forward) : kernels.dense(layer.dense, false);
    }
    losses[m] = stack.wide ? loss_and_slopes<double>(loss) : loss_and_slopes<float>(loss);
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
      layer->recurrent ? kernels.backward(layer->backward) : kernels.dense(layer->dense, true);
    double total = 0;
    for (const Stack::Slopes& s : stack.slopes)
      total += stack.wide ? square_sum(static_cast<const double*>(s.at) + m * s.size, s.size)
                          : square_sum(static_cast<const float*>(s.at) + m * s.size, s.size);
    norms[m] = std::sqrt(total);
    taken[slot] = false;
  }
};

}    // namespace

void step(const Stack& stack, const Kernels& kernels, int64_t threads, double* losses, double* norms) {
  // A thread to each member where there are members enough; else all threads to one member after another.
  const int64_t apart = stack.members < threads ? 1 : std::min(threads, stack.slots);
  Step work{stack, kernels, apart > 1 ? 1 : threads, losses, norms, std::vector<std::atomic<bool>>(apart)};
  parallel(stack.members, apart, [](void* w, int64_t m) { (*static_cast<Step*>(w))(m); }, &work);
}

}    // namespace unrolled
