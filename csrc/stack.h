// A plain stack of layers and its loss: one call computes the gradients of all members. Knows no framework.
#pragma once

#include <vector>

#include "recurrence.h"

namespace unrolled {

enum Loss : int64_t { HUBER = 0, MSE = 1, MAE = 2, PINBALL = 3, CROSS_ENTROPY = 4, BINARY_CROSS_ENTROPY = 5 };

// Members M, outputs a member, and of each output K numbers (levels or classes; else 1).
struct LossCall {
  int64_t kind, M, outputs, K;
  const void* y;    // (M, outputs, K)
  const void* target;    // (M, outputs): of y's type, or int64 classes
  const uint8_t* counted;    // (M, outputs), or null for all; 0 where an output does not count
  const double* levels;    // (K)
  void* dy;    // as y
  double* losses;    // (M)
};

template <class T> void loss_and_slopes(const LossCall&);

// Layers in their order. The memory that they name belongs to the caller, and stays where it is.
struct Stack {
  struct Layer {
    bool recurrent;
    Call forward, backward;
    Dense dense;
  };
  std::vector<Layer> layers;
  struct Slopes {
    const void* at;    // (M, size)
    int64_t size;
  };
  std::vector<Slopes> slopes;    // of all weights, for their norm
  LossCall loss;
  bool wide;
};

// Forward, loss, and backward through all layers; then the norm of each member's gradient.
void step(const Stack&, const Kernels&, double* norms);

}    // namespace unrolled
