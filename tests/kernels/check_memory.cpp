// Threads take memory, write into it, and give it back, all at once: a piece belongs to one of them at a time, and so many
// at most are kept. Built and run by test_memory.py.
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "../../csrc/memory.h"

constexpr int64_t THREADS = 4, TURNS = 300000, HELD = 8, MB = 1 << 20;

int main() {
  std::atomic<int64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int64_t number = 0; number < THREADS; ++number)
    threads.emplace_back([&wrong, number] {
      int64_t* pieces[HELD];
      for (int64_t turn = 0; turn < TURNS; ++turn) {
        const int64_t count = 1 + turn % HELD;
        for (int64_t i = 0; i < count; ++i) {
          pieces[i] = static_cast<int64_t*>(unrolled::take(MB));
          *pieces[i] = number * HELD + i;
        }
        for (int64_t i = 0; i < count; ++i) {
          wrong += *pieces[i] != number * HELD + i;
          unrolled::give_back(pieces[i], MB);
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::printf("%ld wrong\n", long(wrong));
  return wrong > 0;
}
