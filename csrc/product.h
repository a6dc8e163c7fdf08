// Products of small matrices: a micro-kernel that keeps its sums in registers, and weights packed for it.
#pragma once

#include <algorithm>
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

// What the next step will read or write, fetched into the second cache, a few lines at a time between the products of this
// one: all at once, the fetching would hold up what comes after it.
template <class T> class Prefetch {
  struct Rows {
    const T* at;
    int64_t count, size, apart;
  } pieces[4];
  int64_t added = 0, lines = 0, few = 0, left = 0;    // left: rows of the last piece after this one
  const T *at = nullptr, *end = nullptr;
  static constexpr int64_t LINE = 64 / sizeof(T);

  INLINE void begin_row() {
    const Rows& piece = pieces[added - 1];
    at = piece.at + (piece.count - left) * piece.apart, end = at + piece.size;
    if (--left == 0 && --added > 0) left = pieces[added - 1].count;
  }

 public:
  void add(const T* from, int64_t size, int64_t count = 1, int64_t apart = 0) {
    pieces[added++] = {from, count, size, apart};
    lines += count * ((size + LINE - 1) / LINE);
    left = count;
  }
  void spread(int64_t calls) { few = calls ? (lines + calls - 1) / calls : 0; }
  INLINE void fetch() {
    for (int64_t i = 0; i < few; ++i, at += LINE) {
      if (at >= end) {
        if (added == 0) return;
        begin_row();
      }
      __builtin_prefetch(at, 0, 2);
    }
  }
};

// sums[r][FROM + v] += Σ_k a[r·row + k·step] · b[k·ldb + v·W] for v < N. With FETCH it meanwhile fetches a vector for
// each k from `ahead`, which is worked on next, into the second cache.
template <int FROM, int N, bool FETCH = false, class T, int R, int NV>
INLINE void multiply(Vec<T> (&sums)[R][NV], const T* a, int64_t row, int64_t step, const T* b, int64_t ldb, int64_t K,
                     const T* ahead = nullptr) {
  for (int64_t k = 0; k < K; ++k, a += step, b += ldb, ahead += WIDTH<T> * FETCH) {
    if constexpr (FETCH) __builtin_prefetch(ahead, 0, 2);
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
template <class F> uint32_t blocks(int64_t rows) { return (rows + F::MOST - 1) / F::MOST; }
template <class F> INLINE void in_blocks(const F& f, int64_t rows) {
  static constexpr auto functions = by_rows<F>(std::make_integer_sequence<int, F::MOST>{});
  if (rows == 0) return;
  const uint32_t count = blocks<F>(rows), size = uint32_t(rows) / count, larger = rows - count * size;
  int64_t from = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t n = size + (i < larger);
    functions[n - 1](f, from);
    from += n;
  }
}

// c[r·ldc + v·W] += Σ_outer Σ_inner a[r·row + outer·a_outer + inner·step] · b[outer·b_outer + inner·ldb + v·W]
// ROW: a's row where it is a constant, else 0; the rows' addresses then need no registers.
template <class T, int NV, int ROW = 0> struct Product {
  static constexpr int MOST = ROWS<NV>;
  const T* a;
  int64_t row, step, a_outer;
  const T* b;
  int64_t ldb, b_outer, inner, outer;
  T* c;
  int64_t ldc;
  Prefetch<T>* prefetch = nullptr;

  template <int R> static void run(const Product& f, int64_t from) { f.template add<R, false>(from, nullptr); }
  template <int R, bool FETCH> INLINE void add(int64_t from, const T* ahead) const {
    const Product& f = *this;
    const int64_t row = ROW > 0 ? ROW : f.row;
    const T *a = f.a + from * row, *b = f.b;
    T* c = f.c + from * f.ldc;
    Vec<T> sums[R][NV] = {};
    for (int64_t o = 0; o < f.outer; ++o, a += f.a_outer, b += f.b_outer, ahead += f.inner * WIDTH<T> * FETCH) {
      if (f.prefetch) f.prefetch->fetch();
      multiply<0, NV, FETCH>(sums, a, row, f.step, b, f.ldb, f.inner, ahead);
    }
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        store(c + r * f.ldc + v * WIDTH<T>, load(c + r * f.ldc + v * WIDTH<T>) + sums[r][v]);
  }
};

// The same of matrices that the second cache does not hold.
template <class T, int NV, int ROW> struct Fetching {
  static constexpr int MOST = ROWS<NV>;
  Product<T, NV, ROW> product;
  const T* next;    // what b is next; null: c's next rows are fetched
  template <int R> static void run(const Fetching& f, int64_t from) {
    const auto& p = f.product;
    p.template add<R, true>(from, f.next ? f.next + from / MOST * p.outer * p.inner * WIDTH<T> : p.c + (from + R) * p.ldc);
  }
};
// `some` of the outer sums at a time: what they read of b stays in a cache while all rows go by, and the next is fetched.
template <class T, int NV, int ROW> void in_parts(Product<T, NV, ROW> p, int64_t some, int64_t rows) {
  for (int64_t left = p.outer; left > 0; left -= some, p.a += some * p.a_outer, p.b += some * p.b_outer) {
    p.outer = std::min(some, left);
    in_blocks(Fetching<T, NV, ROW>{p, p.b + some * p.b_outer}, rows);
  }
}

}    // namespace UNROLLED_NAMESPACE
