#include "core/shared_store.h"

#include <arpa/inet.h>
#include <c10/util/Logging.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <span>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace tessera {
namespace {

constexpr size_t kAtOnce = 512;  // keys in one message; the table refuses very long ones
constexpr auto kConnectPatience = std::chrono::seconds(5);

std::vector<uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

/// c10d logs lost connections with stack traces, which would bury the one line that matters. Its level is a plain
/// variable: it is set once, as several threads connect.
void quieten_c10d() {
  [[maybe_unused]] static const int level = FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

int bound_socket(int family, const sockaddr* address, socklen_t length) {
  const int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  const int yes = 1, no = 0;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (family == AF_INET6) setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (bind(descriptor, address, length) == 0) return descriptor;
  const int error_number = errno;
  close(descriptor);
  errno = error_number;
  return -1;
}

int listening_socket(uint16_t port, bool this_machine_only) {
  sockaddr_in narrow = {};
  narrow.sin_family = AF_INET;
  narrow.sin_port = htons(port);
  narrow.sin_addr.s_addr = htonl(this_machine_only ? INADDR_LOOPBACK : INADDR_ANY);
  int descriptor = -1;
  if (!this_machine_only) {
    sockaddr_in6 wide = {};
    wide.sin6_family = AF_INET6;
    wide.sin6_port = htons(port);
    descriptor = bound_socket(AF_INET6, reinterpret_cast<const sockaddr*>(&wide), sizeof wide);
  }
  if (descriptor < 0) descriptor = bound_socket(AF_INET, reinterpret_cast<const sockaddr*>(&narrow), sizeof narrow);
  if (descriptor < 0)
    throw Error("rank 0 cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno) +
                "; set MASTER_PORT to a free one, or unset it for any free one");
  return descriptor;
}

uint16_t port_of(int descriptor) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

bool connects(const addrinfo& address) {
  const int descriptor = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return false;
  bool made = ::connect(descriptor, address.ai_addr, address.ai_addrlen) == 0;
  if (!made && errno == EINPROGRESS) {
    pollfd waiting = {descriptor, POLLOUT, 0};
    int problem = -1;
    socklen_t length = sizeof problem;
    if (poll(&waiting, 1, static_cast<int>(std::chrono::milliseconds(kConnectPatience).count())) == 1)
      getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &problem, &length);
    made = problem == 0;
  }
  close(descriptor);
  return made;
}

/// Whether anything listens there: c10d itself would retry for long, and log it.
bool something_listens(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  for (const addrinfo* one = found; one; one = one->ai_next)
    if (connects(*one)) return true;
  return false;
}

}  // namespace

/// What the thread works on. It outlives the SharedStore when a call never comes back.
struct SharedStore::Table {
  using Clock = std::chrono::steady_clock;
  struct Heartbeat {
    std::string key;
    Milliseconds interval;
    Clock::time_point next;
  };

  explicit Table(c10::intrusive_ptr<c10d::TCPStore> opened) : store(std::move(opened)) {}

  void run() {
    std::unique_lock lock(mutex);
    while (!ended) {
      const auto now = Clock::now();
      std::function<void()> task;
      if (heartbeat && now >= heartbeat->next) {  // first: a busy member may always have calls waiting
        heartbeat->next = now + heartbeat->interval;
        if (!lost) task = [this, key = heartbeat->key] { store->add(key, 1); };
      } else if (!tasks.empty()) {
        task = std::move(tasks.front());
        tasks.pop_front();
      } else if (heartbeat) {
        wake.wait_until(lock, heartbeat->next);
      } else {
        wake.wait(lock);
      }
      if (!task) continue;
      lock.unlock();
      try {
        task();
      } catch (const std::exception&) {
        lost = true;
      }
      task = nullptr;
      lock.lock();
    }
  }

  void push(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex);
      tasks.push_back(std::move(task));
    }
    wake.notify_one();
  }

  c10::intrusive_ptr<c10d::TCPStore> store;
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> tasks;
  std::optional<Heartbeat> heartbeat;
  bool ended = false;
  std::atomic<bool> lost = false;
  std::thread thread;
};

SharedStore::SharedStore(std::shared_ptr<Table> table, uint16_t port, Milliseconds patience)
    : table_(std::move(table)), port_(port), patience_(patience) {
  table_->thread = std::thread([kept = table_] { kept->run(); });
}

SharedStore::~SharedStore() {
  {
    const std::lock_guard lock(table_->mutex);
    table_->ended = true;
  }
  table_->wake.notify_one();
  if (table_->lost)
    table_->thread.detach();  // it may hang in a call
  else
    table_->thread.join();
}

std::unique_ptr<SharedStore> SharedStore::host(uint16_t port, bool this_machine_only, Milliseconds patience) {
  quieten_c10d();
  const int descriptor = listening_socket(port, this_machine_only);
  c10d::TCPStoreOptions options;
  options.port = port_of(descriptor);
  options.isServer = true;
  options.waitWorkers = false;
  options.masterListenFd = descriptor;
  options.timeout = patience;
  auto table = std::make_shared<Table>(c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options));
  return std::unique_ptr<SharedStore>(new SharedStore(std::move(table), options.port, patience));
}

std::unique_ptr<SharedStore> SharedStore::connect(const std::string& host, uint16_t port, Milliseconds patience) {
  quieten_c10d();
  if (!something_listens(host, port)) return nullptr;
  c10d::TCPStoreOptions options;
  options.port = port;
  options.waitWorkers = false;
  options.timeout = std::min<Milliseconds>(patience, kConnectPatience);
  try {
    auto table = std::make_shared<Table>(c10::make_intrusive<c10d::TCPStore>(host, options));
    return std::unique_ptr<SharedStore>(new SharedStore(std::move(table), port, patience));
  } catch (const std::exception&) {
    return nullptr;
  }
}

template <class Result>
Result SharedStore::call(const std::function<Result(Table&)>& work) {
  const auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> answer = promise->get_future();
  if (!table_->lost) {
    table_->push([promise, work, table = table_.get()] {
      try {
        promise->set_value(work(*table));
      } catch (...) {
        promise->set_exception(std::current_exception());
        throw;
      }
    });
    if (answer.wait_for(patience_) == std::future_status::ready) {
      try {
        return answer.get();
      } catch (const std::exception&) {
      }
    }
    table_->lost = true;
  }
  throw StoreLost(
      "rank 0 cannot be reached any more: it has ended, or its machine or the network has failed; "
      "continue with --resume",
      ExitCode::kFailed);
}

void SharedStore::set(const std::string& key, const std::string& value) {
  call<bool>([=](Table& table) {
    table.store->set(key, bytes_of(value));
    return true;
  });
}

bool SharedStore::has(const std::string& key) {
  return call<bool>([=](Table& table) { return table.store->check({key}); });
}

std::optional<std::string> SharedStore::get(const std::string& key) {
  return call<std::optional<std::string>>([=](Table& table) -> std::optional<std::string> {
    if (!table.store->check({key})) return {};
    return text_of(table.store->get(key));
  });
}

int64_t SharedStore::add(const std::string& key, int64_t amount) {
  return call<int64_t>([=](Table& table) { return table.store->add(key, amount); });
}

bool SharedStore::swap(const std::string& key, const std::string& before, const std::string& after) {
  return call<bool>(
      [=](Table& table) { return text_of(table.store->compareSet(key, bytes_of(before), bytes_of(after))) == after; });
}

std::vector<std::string> SharedStore::get_all(const std::vector<std::string>& keys) {
  std::vector<std::string> values;
  for (size_t start = 0; start < keys.size(); start += kAtOnce) {
    const auto some = std::span(keys).subspan(start, std::min(kAtOnce, keys.size() - start));
    const auto found =
        call<std::vector<std::vector<uint8_t>>>([asked = std::vector<std::string>(some.begin(), some.end())](
                                                    Table& table) { return table.store->multiGet(asked); });
    for (const auto& bytes : found) values.push_back(text_of(bytes));
  }
  return values;
}

void SharedStore::set_all(const std::vector<std::string>& keys, const std::string& value) {
  for (size_t start = 0; start < keys.size(); start += kAtOnce) {
    const auto some = std::span(keys).subspan(start, std::min(kAtOnce, keys.size() - start));
    call<bool>([asked = std::vector<std::string>(some.begin(), some.end()), bytes = bytes_of(value)](Table& table) {
      table.store->multiSet(asked, std::vector(asked.size(), bytes));
      return true;
    });
  }
}

void SharedStore::beat(const std::string& key, Milliseconds interval) {
  {
    const std::lock_guard lock(table_->mutex);
    table_->heartbeat = {.key = key, .interval = interval, .next = Table::Clock::now() + interval};
  }
  table_->wake.notify_one();
}

}  // namespace tessera
