// A few threads of our own. A call shares out its tasks; whoever is free takes the next one.
//
// One call at a time uses the pool: a second one, from another Python thread, runs its tasks itself. A thread that
// is late finds the call closed: nobody waits for it. After a call the threads look out for the next one for a
// moment, the time between a forward and its backward, and then sleep. They keep off the processor that the caller
// runs on: woken beside it, as schedulers like to do, they would only take turns with it. A forked child starts with
// an empty pool.
#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "recurrence.h"

namespace unrolled {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds LOOK_OUT{1000};

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Whether `done` comes true within `time`.
template <class F> bool soon(F done, std::chrono::microseconds time) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 16; ++i, pause())
      if (done()) return true;
  } while (Clock::now() < end);
  return false;
}

struct Pool {
  std::mutex busy, lock;
  std::condition_variable wake, left;
  std::vector<pthread_t> workers;
  int64_t wanted = 0, sleeping = 0;
  int avoided = -1;    // a processor
  bool open = false;
  std::atomic<uint64_t> round{0};
  std::atomic<int64_t> next{0}, inside{0};
  int64_t count = 0;
  void (*task)(void*, int64_t) = nullptr;
  void* context = nullptr;
  std::exception_ptr failure;

  void take() {
    for (int64_t i; (i = next.fetch_add(1)) < count;) try {
        task(context, i);
      } catch (...) {
        std::lock_guard<std::mutex> held(lock);
        failure = std::current_exception();
      }
  }

  void work(int64_t number) {
    uint64_t seen = 0;
    for (;;) {
      const bool called = soon([&] { return round.load(std::memory_order_acquire) != seen; }, LOOK_OUT);
      std::unique_lock<std::mutex> held(lock);
      if (!called) {
        ++sleeping;
        wake.wait(held, [&] { return round.load() != seen; });
        --sleeping;
      }
      seen = round.load();
      if (!open || number >= wanted) continue;
      inside.fetch_add(1);
      held.unlock();
      take();
      held.lock();
      if (inside.fetch_sub(1) == 1) left.notify_one();
    }
  }

  void keep_off() {
#if defined(__linux__)
    const int here = sched_getcpu();
    cpu_set_t allowed;
    if (here < 0 || here == avoided || pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed)) return;
    avoided = here;
    if (CPU_COUNT(&allowed) < 2) return;
    CPU_CLR(here, &allowed);
    for (pthread_t worker : workers) pthread_setaffinity_np(worker, sizeof allowed, &allowed);
#endif
  }

  void run(int64_t tasks, int64_t helpers, void (*f)(void*, int64_t), void* with) {
    bool asleep;
    {
      std::lock_guard<std::mutex> held(lock);
      while (int64_t(workers.size()) < helpers) try {
        std::thread worker([this, number = int64_t(workers.size())] { work(number); });
        workers.push_back(worker.native_handle());
        worker.detach();
        avoided = -1;
      } catch (const std::system_error&) {
        break;    // no more threads to be had: those that there are do the work
      }
      keep_off();
      task = f, context = with, count = tasks, next = 0, wanted = helpers, open = true, failure = nullptr;
      round.fetch_add(1, std::memory_order_release);
      asleep = sleeping > 0;
    }
    if (asleep) wake.notify_all();
    take();
    {
      std::lock_guard<std::mutex> held(lock);
      open = false;
    }
    soon([&] { return inside.load() == 0; }, LOOK_OUT);
    std::unique_lock<std::mutex> held(lock);
    left.wait(held, [&] { return inside.load() == 0; });
    if (failure) std::rethrow_exception(failure);
  }
};

Pool* pool = new Pool;    // never destroyed: its threads may outlive the statics

// The threads are gone in a forked child, and a lock may be held by one of them.
const int registered = pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });

}    // namespace

void parallel(int64_t count, int64_t threads, void (*task)(void*, int64_t), void* context) {
  (void)registered;
  const int64_t helpers = (threads < count ? threads : count) - 1;
  std::unique_lock<std::mutex> mine(pool->busy, std::defer_lock);
  if (helpers < 1 || !mine.try_lock()) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  pool->run(count, helpers, task, context);
}

}    // namespace unrolled
