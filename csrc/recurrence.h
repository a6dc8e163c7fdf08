// One call of a recurrent layer, forward or backward, on raw memory. Knows no framework.
//
// Letters: M members, B batch, T time, I input features, H units, G gates (1, 4 or 3).
// All arrays are contiguous in their last axis; strides are in elements. Nothing is kept after a call.
#pragma once

#include <cstdint>

namespace unrolled {

enum Cell : int64_t { SIMPLE_RNN = 0, LSTM = 1, GRU = 2 };    // GRU: the reset gate after the product
enum Activation : int64_t { TANH = 0, RELU = 1, LINEAR = 2, SIGMOID = 3 };

struct Call {
  int64_t cell, activation;    // the activation is the SimpleRNN's; LSTM and GRU use tanh
  int64_t M, B, T, I, H;
  int64_t threads;

  const void* x;    // (M, B, T, I) with strides; a reversed sequence starts at its end and has a negative x_time
  int64_t x_member, x_batch, x_time;
  const uint8_t* mask;    // (M, B, T) with strides, or null; 0 where a step is skipped
  int64_t mask_member, mask_batch, mask_time;
  const void *h0, *c0;    // (M, B, H); c0 for an LSTM
  const void *weight_ih, *weight_hh;    // (M, G·H, I) and (M, G·H, H); gates in torch's order, i f g o and r z n
  const void *bias, *bias_hh;    // (M, G·H), or null
  const void* recurrent_mask;    // (M, B, H) or null; multiplies h(t-1) where it enters the product

  void* h;    // (M, B, T, H): the state after each step; null where neither steps nor a gradient are wanted
  void *h_last, *c_last;    // (M, B, H)
  void* saved;    // (M, B, T, saved_size()): what backward needs; null for inference

  const void *dh, *dh_last, *dc_last;    // gradients of h, h_last, c_last, or null
  void *dx;    // (M, B, T, I), contiguous, in the order of x_time; or null
  void *dh0, *dc0;    // (M, B, H)
  void *dweight_ih, *dweight_hh, *dbias, *dbias_hh;    // as the weights; the biases or null
};

// Of one instruction set and one type each: the functions that recurrence.cpp is compiled to.
struct Kernels {
  const char* isa;
  int64_t (*saved_size)(const Call&);    // elements for each row and step
  void (*forward)(const Call&);
  void (*backward)(const Call&);
};

// Runs task(0) … task(count - 1) on at most `threads` threads, this one among them. In pool.cpp.
void parallel(int64_t count, int64_t threads, void (*task)(void*, int64_t), void* context);

}    // namespace unrolled
