// A few parked threads of our own. A call shares out its tasks; whoever is free takes the next one.
//
// One call at a time uses the pool: a second one, from another Python thread, runs its tasks itself. A forked
// child starts with an empty pool of its own.
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "recurrence.h"

namespace unrolled {
namespace {

struct Pool {
  std::mutex busy, lock;
  std::condition_variable wake, finished;
  int64_t workers = 0, wanted = 0, running = 0;
  uint64_t round = 0;
  std::atomic<int64_t> next{0};
  int64_t count = 0;
  void (*task)(void*, int64_t) = nullptr;
  void* context = nullptr;

  void take() {
    for (int64_t i; (i = next.fetch_add(1)) < count;) task(context, i);
  }

  void work(int64_t number) {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> held(lock);
    for (;;) {
      wake.wait(held, [&] { return round != seen; });
      seen = round;
      if (number >= wanted) continue;
      held.unlock();
      take();
      held.lock();
      if (--running == 0) finished.notify_one();
    }
  }

  void run(int64_t tasks, int64_t helpers, void (*f)(void*, int64_t), void* with) {
    {
      std::lock_guard<std::mutex> held(lock);
      for (; workers < helpers; ++workers) std::thread([this, number = workers] { work(number); }).detach();
      task = f, context = with, count = tasks;
      next = 0;
      wanted = running = helpers;
      ++round;
    }
    wake.notify_all();
    take();
    std::unique_lock<std::mutex> held(lock);
    finished.wait(held, [&] { return running == 0; });
  }
};

Pool* pool = new Pool;    // never destroyed: its threads may outlive the statics

// The threads are gone in a forked child, and a lock may be held by one of them.
const int registered = pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });

}    // namespace

void parallel(int64_t count, int64_t threads, void (*task)(void*, int64_t), void* context) {
  (void)registered;
  const int64_t helpers = (threads < count ? threads : count) - 1;
  std::unique_lock<std::mutex> mine(pool->busy, std::try_to_lock);
  if (helpers < 1 || !mine.owns_lock()) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  pool->run(count, helpers, task, context);
}

}    // namespace unrolled
