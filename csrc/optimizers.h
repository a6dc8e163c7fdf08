// The rules of torch.optim, number by number: all numbers alike, wherever in memory they lie.
#pragma once

#include <cstdint>

namespace unrolled {

enum Rule : int64_t { SGD = 0, ADAM = 1, ADAMW = 2, NADAM = 3, RMSPROP = 4 };

struct Update {
  int64_t rule, n, steps, nesterov;    // steps: made before
  void* p;    // n parameters
  const void* gradient;
  void *first, *second;    // what the rule keeps: of SGD and RMSprop the first alone
  double rate, momentum, beta2, epsilon, decay;    // momentum: β₁ where there are two
  double product;    // of NAdam's momenta before this step
};

// Makes a step; returns NAdam's product of momenta.
template <class T> double update(const Update&);

}    // namespace unrolled
