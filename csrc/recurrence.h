// One call of a recurrent layer, forward or backward, on raw memory. Knows no framework.
//
// Letters: M members, B batch, T time, I input features, H units, G gates (1, 4 or 3).
// Arrays are contiguous where no strides are given; strides are in elements. Nothing is kept after a call but memory (memory.h).
#pragma once

#include <cstdint>

namespace unrolled {

enum Cell : int64_t { SIMPLE_RNN = 0, LSTM = 1, GRU = 2, GRU_BEFORE = 3 };    // the reset after, before the product
enum Activation : int64_t { TANH = 0, RELU = 1, LINEAR = 2, SIGMOID = 3 };

constexpr int64_t PART_BYTES = 65536;    // of a large layer's weights so many are worked on at a time: a small part of a second cache

struct Call {
  int64_t cell, activation;    // the activation is that of the candidate, and of an LSTM's c
  int64_t M, B, T, I, H;
  int64_t reverse;    // whether time runs from the last step to the first, in x, mask and dx; y is in order of computation
  int64_t last_only;    // whether y and dy have one step, the last
  int64_t time_major;    // whether y, dy and dx lie in memory as (M, T, B, …)
  int64_t threads;

  const void* x;    // (M, B, T, I) with strides
  int64_t x_member, x_batch, x_time;
  const uint8_t* mask;    // (M, B, T) with strides, or null; 0 where a step is skipped
  int64_t mask_member, mask_batch, mask_time;
  const void *h0, *c0;    // (M, B, H), or null for zeros; c0 for an LSTM
  const void *weight_ih, *weight_hh;    // (M, G·H, I) and (M, G·H, H); gates in torch's order, i f g o and r z n
  const void *bias, *bias_hh;    // (M, G·H), or null
  const void *norm_weight, *norm_bias;    // (M, G·H) or for an LSTM (M, 5·H), or null: gain and shift of layer norms
  const void* recurrent_mask;    // (M, B, H) or null; multiplies h(t-1) where it enters the product

  void* y;    // (M, B, T or 1, H), or null
  void *h_last, *c_last;    // (M, B, H), or null
  void* saved;    // what backward needs, or null for inference
  int64_t saved_size;    // its elements: refused if they are too few

  const void *dy, *dh_last, *dc_last;    // gradients of y, h_last, c_last, or null
  void* dx;    // (M, B, T, I), or null
  void *dh0, *dc0;    // (M, B, H), or null
  void *dweight_ih, *dweight_hh, *dbias, *dbias_hh, *dnorm_weight, *dnorm_bias;    // as the weights, or null
};

// A dense layer, y = φ(x Wᵀ + b). Contiguous arrays; null where not wanted.
struct Dense {
  int64_t rows, in, out, activation;
  const void *x, *weight, *bias;    // (rows, in), (out, in), (out) or null
  void* y;    // (rows, out)
  const void* dy;    // as y
  void *dx, *dweight, *dbias;    // as x (or null), as the weight and the bias
};

// c = a · b of `count` pairs of matrices; a and b lie anywhere, c is contiguous.
struct Matrices {
  int64_t count, rows, K, columns, threads;
  const void* a;    // (count, rows, K) with strides
  int64_t a_item, a_row, a_column;
  const void* b;    // (count, K, columns) with strides
  int64_t b_item, b_row, b_column;
  void* c;    // (count, rows, columns)
};

// Of one instruction set and one type each: the functions that recurrence.cpp is compiled to.
struct Kernels {
  int64_t bytes;    // of a vector
  void (*forward)(const Call&);
  void (*backward)(const Call&);
  void (*dense)(const Dense&, bool back);
  void (*products)(const Matrices&);
  void (*evaluate)(int64_t function, const void* x, void* y, int64_t n);    // 0 exp, 1 sigmoid, 2 tanh: for tests
};

// Runs task(0) … task(count - 1) on at most `threads` threads, this one among them. In pool.cpp.
void parallel(int64_t count, int64_t threads, void (*task)(void*, int64_t), void* context);

}    // namespace unrolled
