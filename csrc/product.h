// Products of small matrices: a micro-kernel that keeps its sums in registers, and weights packed for it.
#pragma once

#include <array>
#include <utility>

#include "vector.h"

namespace UNROLLED_NAMESPACE {

#if UNROLLED_BYTES == 64 || defined(__aarch64__)
constexpr int REGISTERS = 24;    // for sums, of 32; the rest is for operands
#else
constexpr int REGISTERS = 12;    // of 16
#endif
constexpr int PAIR = 2;
template <int NV> constexpr int ROWS = REGISTERS / NV;

// sums[r][FROM + v] += Σ_k a[r·row + k·step] · b[k·ldb + v·W] for v < N.
template <int FROM, int N, class T, int R, int NV>
INLINE void multiply(Vec<T> (&sums)[R][NV], const T* a, int64_t row, int64_t step, const T* b, int64_t ldb, int64_t K) {
  for (int64_t k = 0; k < K; ++k, a += step, b += ldb) {
    Vec<T> right[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) right[v] = load(b + v * WIDTH<T>);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) {
      const Vec<T> left = fill(a[r * row]);
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) sums[r][FROM + v] += left * right[v];
    }
  }
}

// Functions for 1, 2, … rows at once; calls them for `rows` rows, cut nearly equally: 16 by at most 6 are 6, 5, 5.
template <class F, int... R> constexpr auto by_rows(std::integer_sequence<int, R...>) {
  return std::array{&F::template run<R + 1>...};
}
template <class F> INLINE void in_blocks(const F& f, int64_t rows) {
  static constexpr auto functions = by_rows<F>(std::make_integer_sequence<int, F::MOST>{});
  if (rows == 0) return;
  const uint32_t blocks = (rows + F::MOST - 1) / F::MOST, size = uint32_t(rows) / blocks, larger = rows - blocks * size;
  int64_t from = 0;
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint32_t n = size + (i < larger);
    functions[n - 1](f, from);
    from += n;
  }
}

// c[r·ldc + v·W] += Σ_outer Σ_inner a[r·row + outer·a_outer + inner·step] · b[outer·b_outer + inner·ldb + v·W]
template <class T, int NV> struct Product {
  static constexpr int MOST = ROWS<NV>;
  const T* a;
  int64_t row, step, a_outer;
  const T* b;
  int64_t ldb, b_outer, inner, outer;
  T* c;
  int64_t ldc;

  template <int R> static void run(const Product& f, int64_t from) {
    const T *a = f.a + from * f.row, *b = f.b;
    T* c = f.c + from * f.ldc;
    Vec<T> sums[R][NV] = {};
    for (int64_t o = 0; o < f.outer; ++o, a += f.a_outer, b += f.b_outer)
      multiply<0, NV>(sums, a, f.row, f.step, b, f.ldb, f.inner);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        store(c + r * f.ldc + v * WIDTH<T>, load(c + r * f.ldc + v * WIDTH<T>) + sums[r][v]);
  }
};

}    // namespace UNROLLED_NAMESPACE
