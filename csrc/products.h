// Products of many matrices, the same bits however many there are, wherever they lie, and whatever the threads.
#pragma once

#include "plan.h"
#include "product.h"

namespace UNROLLED_NAMESPACE {

template <class T> class Products {
  // SOME of the sums at a time, whose b takes half of a first cache of 32 kB
  static constexpr int64_t WIDE = PAIR * WIDTH<T>, SOME = 16384 / (WIDE * sizeof(T)), TILE = 48;
  const Matrices& p;
  int64_t panels, tiles;
  Buffer<T> packed;    // each b as [panel][K][WIDE]

 public:
  explicit Products(const Matrices& given)
      : p(given), panels((p.columns + WIDE - 1) / WIDE), tiles((p.rows + TILE - 1) / TILE), packed(p.count * panels * p.K * WIDE) {}
  int64_t packs() const { return p.count * panels; }
  int64_t tasks() const { return p.count * tiles; }

  void pack(int64_t task) const {
    const int64_t q = task % panels * WIDE, n = std::min(WIDE, p.columns - q);
    const T* b = as<T>(p.b) + task / panels * p.b_item + q * p.b_column;
    T* to = packed + task * p.K * WIDE;
    constexpr int64_t LINE = 16;    // columns in memory are read so many numbers at a time
    for (int64_t k = 0; k < p.K; k += LINE, to += LINE * WIDE) {
      const int64_t rows = std::min(LINE, p.K - k);
      if (n < WIDE) std::fill_n(to, rows * WIDE, T(0));
      for (int64_t i = 0; p.b_column == 1 && i < rows; ++i) copy(b + (k + i) * p.b_row, n, to + i * WIDE);
      for (int64_t j = 0; p.b_column != 1 && j < n; ++j)
        for (int64_t i = 0; i < rows; ++i) to[i * WIDE + j] = b[(k + i) * p.b_row + j * p.b_column];
    }
  }

  void operator()(int64_t task) const {
    const int64_t item = task / tiles, from = task % tiles * TILE, rows = std::min(TILE, p.rows - from), wide = panels * WIDE;
    const T *a = as<T>(p.a) + item * p.a_item + from * p.a_row, *b = packed + item * panels * p.K * WIDE;
    Buffer<T> sums(rows * wide);
    sums.clear(rows * wide);
    for (int64_t k = 0; k < p.K; k += SOME)
      for (int64_t i = 0; i < panels; ++i)
        in_blocks(Product<T, PAIR>{a + k * p.a_column, p.a_row, p.a_column, 0, b + (i * p.K + k) * WIDE, WIDE, 0,
                                   std::min(SOME, p.K - k), 1, sums + i * WIDE, wide},
                  rows);
    T* c = as<T>(p.c) + (item * p.rows + from) * p.columns;
    for (int64_t r = 0; r < rows; ++r) copy(sums + r * wide, p.columns, c + r * p.columns);
  }
};

template <class T> void products(const Matrices& given) {
  using Work = Products<T>;
  const Work work(given);
  const bool few = given.count * given.rows * given.K * given.columns < 1 << 16;    // waking a thread would take longer
  void* context = const_cast<Work*>(&work);
  const int64_t threads = few ? 1 : given.threads;
  parallel(work.packs(), threads, [](void* w, int64_t i) { static_cast<Work*>(w)->pack(i); }, context);
  parallel(work.tasks(), threads, [](void* w, int64_t i) { (*static_cast<Work*>(w))(i); }, context);
}

}    // namespace UNROLLED_NAMESPACE
