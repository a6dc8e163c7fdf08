// Rows of ragged sequences, packed (first all that have a first step, then all that have a second, …) to padded and back.
#pragma once

#include <cstring>
#include <stdexcept>
#include <vector>

#include "recurrence.h"

namespace unrolled {

struct Packing {
  int64_t B, T, bytes;    // bytes: of a row, the features of a step
  const int64_t* sizes;    // (T): how many sequences have this step, never more than the step before
  char *padded, *packed;    // (B, T, bytes) and (sum of sizes, bytes)
  int64_t threads;
};

// With `pack` from padded to packed, else to padded, zeros where a sequence has ended. A task is a sequence.
inline void repack(const Packing& p, bool pack) {
  std::vector<int64_t> starts(p.T);
  int64_t rows = 0;
  for (int64_t t = 0; t < p.T; ++t) {
    if (p.sizes[t] < 1 || p.sizes[t] > (t ? p.sizes[t - 1] : p.B)) throw std::invalid_argument("batch sizes that grow");
    starts[t] = rows, rows += p.sizes[t];
  }
  auto sequence = [&](int64_t b) {
    int64_t t = 0;
    for (; t < p.T && b < p.sizes[t]; ++t) {
      char *padded = p.padded + (b * p.T + t) * p.bytes, *packed = p.packed + (starts[t] + b) * p.bytes;
      pack ? std::memcpy(packed, padded, p.bytes) : std::memcpy(padded, packed, p.bytes);
    }
    if (!pack) std::memset(p.padded + (b * p.T + t) * p.bytes, 0, (p.T - t) * p.bytes);
  };
  using Sequence = decltype(sequence);
  const bool few = rows * p.bytes < 1 << 15;    // waking a thread would take longer
  parallel(p.B, few ? 1 : p.threads, [](void* f, int64_t b) { (*static_cast<Sequence*>(f))(b); }, &sequence);
}

}    // namespace unrolled
