// Formulas: torch.optim's documentation, 2.13. Compiled without fused multiply-add: torch's own fused kernels round the
// last numbers of a tensor otherwise than the first ones, so that a member of a stack would not be one alone.
#include "optimizers.h"

#include <cmath>

namespace unrolled {

template <class T> double update(const Update& u) {
  T* p = static_cast<T*>(u.p);
  const T* g = static_cast<const T*>(u.gradient);
  T *first = static_cast<T*>(u.first), *second = static_cast<T*>(u.second);
  const T momentum = T(u.momentum), beta2 = T(u.beta2), rate = T(u.rate), epsilon = T(u.epsilon);
  const T rest1 = T(1 - u.momentum), rest2 = T(1 - u.beta2);
  const double t = double(u.steps + 1), correction2 = 1 - std::pow(u.beta2, t);
  switch (u.rule) {
    case SGD:
      for (int64_t i = 0; i < u.n; ++i) {
        first[i] = momentum * first[i] + g[i];
        p[i] -= rate * (u.nesterov ? g[i] + momentum * first[i] : first[i]);
      }
      return u.product;
    case RMSPROP:
      for (int64_t i = 0; i < u.n; ++i) {
        first[i] = T(0.99) * first[i] + T(0.01) * g[i] * g[i];
        p[i] -= rate * g[i] / (std::sqrt(first[i]) + epsilon);
      }
      return u.product;
    case NADAM: {
      const double now = u.momentum * (1 - 0.5 * std::pow(0.96, t * 4e-3));
      const double next = u.momentum * (1 - 0.5 * std::pow(0.96, (t + 1) * 4e-3)), product = u.product * now;
      const T of_gradient = T(u.rate * (1 - now) / (1 - product)), of_first = T(u.rate * next / (1 - product * next));
      const T scale = T(1 / correction2);
      for (int64_t i = 0; i < u.n; ++i) {
        first[i] = momentum * first[i] + rest1 * g[i];
        second[i] = beta2 * second[i] + rest2 * g[i] * g[i];
        const T size = std::sqrt(second[i] * scale) + epsilon;
        p[i] -= (of_gradient * g[i] + of_first * first[i]) / size;
      }
      return product;
    }
    default: {
      const T shrink = T(u.rule == ADAMW ? 1 - u.rate * u.decay : 1), scale = T(1 / std::sqrt(correction2));
      const T step = T(u.rate / (1 - std::pow(u.momentum, t)));
      for (int64_t i = 0; i < u.n; ++i) {
        first[i] = momentum * first[i] + rest1 * g[i];
        second[i] = beta2 * second[i] + rest2 * g[i] * g[i];
        p[i] = shrink * p[i] - step * first[i] / (std::sqrt(second[i]) * scale + epsilon);
      }
      return u.product;
    }
  }
}

template double update<float>(const Update&);
template double update<double>(const Update&);

}    // namespace unrolled
