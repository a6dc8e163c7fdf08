// A dense layer over rows, forward and backward: y = φ(x Wᵀ + b). Rows and products are padded to vectors.
#pragma once

#include "cells.h"
#include "plan.h"
#include "product.h"

namespace UNROLLED_NAMESPACE {

// to (rows, n) padded to (rows, wide) with zeros
template <class T> void pad(const T* from, int64_t rows, int64_t n, int64_t wide, T* to) {
  for (int64_t r = 0; r < rows; ++r) {
    copy(from + r * n, n, to + r * wide);
    std::fill(to + r * wide + n, to + (r + 1) * wide, T(0));
  }
}

// c (rows, wide) += a · b, where a[r, k] = a[r·row + k·step] and b is (K, wide)
template <class T>
void multiply_rows(const T* a, int64_t row, int64_t step, const T* b, int64_t K, int64_t rows, int64_t wide, T* c) {
  for (int64_t q = 0; q < wide; q += PAIR * WIDTH<T>)
    in_blocks(Product<T, PAIR>{a, row, step, 0, b + q, wide, 0, K, 1, c + q, wide}, rows);
}

template <class T, int ACT> void dense_forward(const Dense& d) {
  const int64_t rows = d.rows, I = d.in, O = d.out, wide = round_up(O, PAIR * WIDTH<T>);
  const T *x = as<T>(d.x), *w = as<T>(d.weight);
  Buffer<T> turned(I * wide), sums(rows * wide);
  turned.clear(I * wide);
  for (int64_t o = 0; o < O; ++o)
    for (int64_t i = 0; i < I; ++i) turned[i * wide + o] = w[o * I + i];
  sums.clear(rows * wide);
  if (d.bias)
    for (int64_t r = 0; r < rows; ++r) std::copy_n(as<T>(d.bias), O, sums + r * wide);
  multiply_rows<T>(x, I, 1, turned, I, rows, wide, sums);
  activate<T, ACT>(rows * wide / WIDTH<T>, sums, WIDTH<T>, sums, WIDTH<T>);
  for (int64_t r = 0; r < rows; ++r) copy(sums + r * wide, O, as<T>(d.y) + r * O);
}

template <class T, int ACT> void dense_backward(const Dense& d) {
  constexpr int64_t TWO = PAIR * WIDTH<T>;
  const int64_t rows = d.rows, I = d.in, O = d.out, wide = round_up(O, TWO), inner = round_up(I, TWO);
  Buffer<T> slopes(rows * wide), outputs(rows * wide), inputs(rows * inner), weights(O * inner), dw(O * inner);
  pad<T>(as<T>(d.dy), rows, O, wide, slopes);
  pad<T>(as<T>(d.y), rows, O, wide, outputs);
  for (int64_t i = 0; i < rows * wide; i += WIDTH<T>)
    store(slopes + i, load(slopes + i) * slope<T, ACT>(load(outputs + i)));
  pad<T>(as<T>(d.x), rows, I, inner, inputs);
  dw.clear(O * inner);
  multiply_rows<T>(slopes, 1, wide, inputs, rows, O, inner, dw);
  for (int64_t o = 0; o < O; ++o) copy(dw + o * inner, I, as<T>(d.dweight) + o * I);
  if (d.dbias) {
    T* bias = as<T>(d.dbias);
    std::fill_n(bias, O, T(0));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t o = 0; o < O; ++o) bias[o] += slopes[r * wide + o];
  }
  if (!d.dx) return;
  pad<T>(as<T>(d.weight), O, I, inner, weights);
  inputs.clear(rows * inner);
  multiply_rows<T>(slopes, wide, 1, weights, O, rows, inner, inputs);
  for (int64_t r = 0; r < rows; ++r) copy(inputs + r * inner, I, as<T>(d.dx) + r * I);
}

template <class T> void dense(const Dense& d, bool back) {
  using F = void (*)(const Dense&);
  static constexpr F functions[2][4] = {
      {dense_forward<T, TANH>, dense_forward<T, RELU>, dense_forward<T, LINEAR>, dense_forward<T, SIGMOID>},
      {dense_backward<T, TANH>, dense_backward<T, RELU>, dense_backward<T, LINEAR>, dense_backward<T, SIGMOID>}};
  functions[back][d.activation](d);
}

}    // namespace UNROLLED_NAMESPACE
