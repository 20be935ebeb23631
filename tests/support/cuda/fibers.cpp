#include "tests/support/cuda/fibers.h"

#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define TESSERA_FIBERS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TESSERA_FIBERS_ASAN 1
#endif
#endif
#ifdef TESSERA_FIBERS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace tessera::test::emulator {
namespace {

constexpr unsigned kLanes = 32;
constexpr size_t kStackBytes = 128 * 1024;

enum class State { kReady, kAtBarrier, kAtShuffle, kDone };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state = State::kReady;
  Site site{};
  unsigned mask = 0;
  int source = 0;
  uint64_t bits = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

/// Thrown by the scheduler, never through a fiber.
struct Stuck : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string text_of(const Site& site) {
  const std::string file = site.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line);
}

class Scheduler {
 public:
  bool run(Size size, const std::function<void(unsigned, unsigned)>& place, const std::function<void()>& body) {
    const std::lock_guard<std::mutex> lock(mutex_);
    place_ = &place;
    body_ = &body;
    failure_.clear();
    while (fibers_.size() < size.threads) fibers_.push_back(std::make_unique<Fiber>());
    count_ = size.threads;
    std::mt19937 random(seed_);
    try {
      for (const unsigned block : in_order(size.blocks, random)) {
        block_ = block;
        run_block(in_order(size.threads, random));
      }
    } catch (const Stuck& stuck) {
      failure_ = stuck.what();
    }
    return failure_.empty();
  }

  void wait(State state, const Site& site) {
    Fiber& fiber = *fibers_[now_];
    fiber.state = state;
    fiber.site = site;
    leave(fiber, &fiber.fake_stack);
  }

  Fiber& current() { return *fibers_[now_]; }

  unsigned seed_ = 0;
  std::string failure_;

 private:
  std::vector<unsigned> in_order(unsigned count, std::mt19937& random) const {
    std::vector<unsigned> order(count);
    std::iota(order.begin(), order.end(), 0U);
    if (seed_ == 1) std::reverse(order.begin(), order.end());
    if (seed_ > 1) std::shuffle(order.begin(), order.end(), random);
    return order;
  }

  /// Each warp in turn runs until it waits at a barrier: as far ahead of the others as it may.
  void run_block(const std::vector<unsigned>& order) {
    for (unsigned i = 0; i < count_; ++i) start(*fibers_[i]);
    std::vector<std::vector<unsigned>> warps((count_ + kLanes - 1) / kLanes);
    std::vector<unsigned> first;  // to come, of each warp
    for (const unsigned i : order) {
      if (warps[i / kLanes].empty()) first.push_back(i / kLanes);
      warps[i / kLanes].push_back(i);
    }
    do {
      for (const unsigned warp : first) run_warp(warp, warps[warp]);
    } while (!all(State::kDone) && release_block());
    if (!all(State::kDone)) throw Stuck(describe());
  }

  void run_warp(unsigned warp, const std::vector<unsigned>& order) {
    do {
      for (const unsigned i : order)
        if (fibers_[i]->state == State::kReady) enter(i);
    } while (release_warp(warp * kLanes));
  }

  static void entry();

  void start(Fiber& fiber) {
    fiber.state = State::kReady;
    fiber.fake_stack = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Scheduler::entry, 0);
  }

  void enter(unsigned i) {
    now_ = i;
    (*place_)(block_, i);
#ifdef TESSERA_FIBERS_ASAN
    void* own = nullptr;
    __sanitizer_start_switch_fiber(&own, fibers_[i]->stack.get(), kStackBytes);
#endif
    swapcontext(&home_, &fibers_[i]->context);
#ifdef TESSERA_FIBERS_ASAN
    __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
#endif
  }

  /// Back to the scheduler; `fake_stack` null: for good.
  void leave(Fiber& fiber, [[maybe_unused]] void** fake_stack) {
#ifdef TESSERA_FIBERS_ASAN
    __sanitizer_start_switch_fiber(fake_stack, home_stack_, home_stack_bytes_);
#endif
    swapcontext(&fiber.context, &home_);
    arrived(fiber);
  }

  void arrived([[maybe_unused]] Fiber& fiber) {
#ifdef TESSERA_FIBERS_ASAN
    __sanitizer_finish_switch_fiber(fiber.fake_stack, &home_stack_, &home_stack_bytes_);
#endif
  }

  bool all(State state) const {
    return std::all_of(fibers_.begin(), fibers_.begin() + count_, [&](const auto& f) { return f->state == state; });
  }

  /// Lets the lanes of a warp go on whose masks wait for nobody else. A lane of a mask must exist, live, and be at the
  /// same place.
  bool release_warp(unsigned warp) {
    bool any = false;
    for (unsigned i = warp; i < std::min(warp + kLanes, count_); ++i) {
      const Fiber& fiber = *fibers_[i];
      if (fiber.state != State::kAtShuffle || !together(warp, fiber)) continue;
      any = true;
      exchange_lanes(warp, fiber.mask);
    }
    return any;
  }

  bool together(unsigned warp, const Fiber& first) const {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if ((first.mask >> lane & 1) == 0) continue;
      if (warp + lane >= count_ || fibers_[warp + lane]->state == State::kDone)
        throw Stuck("a shuffle at " + text_of(first.site) + " waits for lane " + std::to_string(lane) +
                    ", which does not take part");
      const Fiber& other = *fibers_[warp + lane];
      if (other.state != State::kAtShuffle || other.site != first.site || other.mask != first.mask) return false;
    }
    return true;
  }

  void exchange_lanes(unsigned warp, unsigned mask) {
    uint64_t brought[kLanes] = {};
    for (unsigned lane = 0; lane < kLanes && warp + lane < count_; ++lane) brought[lane] = fibers_[warp + lane]->bits;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      Fiber& fiber = *fibers_[warp + lane];
      const auto source = static_cast<unsigned>(fiber.source);
      if (source >= kLanes || (mask >> source & 1) == 0)
        throw Stuck("a shuffle at " + text_of(fiber.site) + " reads lane " + std::to_string(fiber.source) +
                    ", which does not take part");
      fiber.bits = brought[source];
      fiber.state = State::kReady;
    }
  }

  bool release_block() {
    if (!all(State::kAtBarrier)) return false;
    const Site& site = fibers_[0]->site;
    for (unsigned i = 0; i < count_; ++i) {
      if (fibers_[i]->site == site) continue;
      throw Stuck("threads wait at different barriers, " + text_of(site) + " and " + text_of(fibers_[i]->site));
    }
    for (unsigned i = 0; i < count_; ++i) fibers_[i]->state = State::kReady;
    return true;
  }

  std::string describe() const {
    for (unsigned i = 0; i < count_; ++i)
      if (fibers_[i]->state != State::kDone)
        return "thread " + std::to_string(i) + " waits at " + text_of(fibers_[i]->site) +
               " for threads that never come";
    return "";
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  unsigned count_ = 0, now_ = 0, block_ = 0;
  ucontext_t home_{};
  [[maybe_unused]] const void* home_stack_ = nullptr;  // AddressSanitizer's
  [[maybe_unused]] size_t home_stack_bytes_ = 0;
  const std::function<void(unsigned, unsigned)>* place_ = nullptr;
  const std::function<void()>* body_ = nullptr;
};

Scheduler& scheduler() {
  static Scheduler one;
  return one;
}

void Scheduler::entry() {
  Scheduler& s = scheduler();
  s.arrived(s.current());
  (*s.body_)();
  Fiber& fiber = s.current();
  fiber.state = State::kDone;
  s.leave(fiber, nullptr);
}

}  // namespace

void set_order(unsigned seed) {
  scheduler().seed_ = seed;
}

bool run(Size size, const std::function<void(unsigned, unsigned)>& place, const std::function<void()>& body) {
  return scheduler().run(size, place, body);
}

const std::string& failure() {
  return scheduler().failure_;
}

void block_barrier(const Site& site) {
  scheduler().wait(State::kAtBarrier, site);
}

uint64_t exchange(unsigned mask, uint64_t bits, int source, const Site& site) {
  Fiber& fiber = scheduler().current();
  fiber.mask = mask;
  fiber.source = source;
  fiber.bits = bits;
  scheduler().wait(State::kAtShuffle, site);
  return fiber.bits;
}

}  // namespace tessera::test::emulator
