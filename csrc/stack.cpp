// The loss and its slopes, and the way through a stack.
#include "stack.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

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

}    // namespace

template <class T> void loss_and_slopes(const LossCall& c) {
  for (int64_t m = 0; m < c.M; ++m) {
    const int64_t from = m * c.outputs;
    int64_t count = c.outputs;
    if (c.counted) count = std::count_if(c.counted + from, c.counted + from + c.outputs, [](uint8_t f) { return f != 0; });
    count = std::max<int64_t>(count, 1);
    double total = 0;
    for (int64_t i = from; i < from + c.outputs; ++i) {
      T* d = static_cast<T*>(c.dy) + i * c.K;
      if (c.counted && !c.counted[i]) {
        std::fill_n(d, c.K, T(0));
        continue;
      }
      total += loss_of(c.kind, static_cast<const T*>(c.y) + i * c.K, c.K, c.target, i, c.levels, d);
      for (int64_t k = 0; k < c.K; ++k) d[k] = T(d[k] / double(count));
    }
    c.losses[m] = total / double(count);
  }
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

void step(const Stack& stack, const Kernels& kernels, double* norms) {
  for (const Stack::Layer& layer : stack.layers)
    layer.recurrent ? kernels.forward(layer.forward) : kernels.dense(layer.dense, false);
  stack.wide ? loss_and_slopes<double>(stack.loss) : loss_and_slopes<float>(stack.loss);
  for (auto layer = stack.layers.rbegin(); layer != stack.layers.rend(); ++layer)
    layer->recurrent ? kernels.backward(layer->backward) : kernels.dense(layer->dense, true);
  for (int64_t m = 0; m < stack.loss.M; ++m) {
    double total = 0;
    for (const Stack::Slopes& s : stack.slopes)
      total += stack.wide ? square_sum(static_cast<const double*>(s.at) + m * s.size, s.size)
                          : square_sum(static_cast<const float*>(s.at) + m * s.size, s.size);
    norms[m] = std::sqrt(total);
  }
}

}    // namespace unrolled
