// A few pieces, the latest given back first. A thread that finds another one here takes fresh memory: nobody waits,
// nor does a child that was forked meanwhile.
#include "memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <new>

namespace unrolled {
namespace {

constexpr std::align_val_t ALIGN{64};
constexpr int PIECES = 16;
#ifdef UNROLLED_SANITIZE    // which has to see what is read after it was given back
constexpr int64_t LARGE = INT64_MAX;
#else
constexpr int64_t LARGE = 1 << 20;    // smaller ones the library keeps
#endif
constexpr int64_t MOST = 256 << 20;    // bytes kept, of all pieces

struct Piece {
  void* at;
  int64_t bytes;
};
Piece kept[PIECES];    // the oldest first
int count = 0;
int64_t total = 0;
std::atomic_flag busy = ATOMIC_FLAG_INIT;

struct Alone {    // whether this thread is the only one here
  const bool here = !busy.test_and_set(std::memory_order_acquire);
  ~Alone() {
    if (here) busy.clear(std::memory_order_release);
  }
};

// Sizes that differ little are the same, so that a piece serves for batches that differ a little.
int64_t rounded(int64_t bytes) {
  int64_t step = LARGE / 8;
  while (step * 16 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

Piece remove(int i) {
  const Piece piece = kept[i];
  std::move(kept + i + 1, kept + count, kept + i);
  --count, total -= piece.bytes;
  return piece;
}

}    // namespace

void* take(int64_t bytes) {
  if (bytes >= LARGE) {
    bytes = rounded(bytes);
    if (const Alone alone; alone.here)
      for (int i = count - 1; i >= 0; --i)
        if (kept[i].bytes == bytes) return remove(i).at;
  }
  void* at = ::operator new(std::max<int64_t>(bytes, 1), ALIGN, std::nothrow);
  if (!at) {    // what is kept may be what lacks
    if (const Alone alone; alone.here)
      while (count > 0) ::operator delete(remove(0).at, ALIGN);
    at = ::operator new(bytes, ALIGN);
  }
  ask_for_large_pages(at, bytes);
  return at;
}

void give_back(void* at, int64_t bytes) noexcept {
  if (bytes >= LARGE && (bytes = rounded(bytes)) <= MOST) {
    Piece left[PIECES];
    int dropped = 0;
    bool keeps = false;
    if (const Alone alone; alone.here) {
      while (count == PIECES || total + bytes > MOST) left[dropped++] = remove(0);
      kept[count++] = {at, bytes};
      total += bytes, keeps = true;
    }
    while (dropped > 0) ::operator delete(left[--dropped].at, ALIGN);
    if (keeps) return;
  }
  ::operator delete(at, ALIGN);
}

void ask_for_large_pages(void* at, int64_t bytes) {
#if defined(__linux__)
  constexpr int64_t PAGE = 1 << 21;
  const int64_t from = (reinterpret_cast<int64_t>(at) + PAGE - 1) & -PAGE, to = (reinterpret_cast<int64_t>(at) + bytes) & -PAGE;
  if (to - from >= 2 * PAGE) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#endif
}

}    // namespace unrolled
