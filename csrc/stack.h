// A plain stack of layers and its loss: one call computes the gradients of all members. Knows no framework.
#pragma once

#include <vector>

#include "recurrence.h"

namespace unrolled {

enum Loss : int64_t { HUBER = 0, MSE = 1, MAE = 2, PINBALL = 3, CROSS_ENTROPY = 4, BINARY_CROSS_ENTROPY = 5 };

// Of one member: its outputs, and of each output K numbers (levels or classes; else 1).
struct LossCall {
  int64_t kind, outputs, K;
  const void* y;    // (outputs, K)
  const void* target;    // (outputs): of y's type, or int64 classes
  const uint8_t* counted;    // (outputs), or null for all; 0 where an output does not count
  const double* levels;    // (K)
  void* dy;    // as y
};

// Layers in their order, and the loss, as they are for the first member. What belongs to a member (input, target,
// weights, their gradients, masks of dropout) lies member after member; what is between the layers lies slot after slot, one for
// each thread, so that it stays in the cache from one member to the next. All of it is the caller's, and stays where it is.
struct Stack {
  struct Layer {
    bool recurrent;
    Call forward, backward;
    Dense dense;
  };
  struct Slopes {
    const void* at;    // (M, size)
    int64_t size;
  };
  int64_t members, slots;
  bool wide;
  std::vector<Layer> layers;
  std::vector<Slopes> slopes;    // of all weights, for their norm
  LossCall loss;
};

// Forward, loss, and backward through all layers: each member's loss, and the norm of its gradient.
void step(const Stack&, const Kernels&, int64_t threads, double* losses, double* norms);

}    // namespace unrolled
