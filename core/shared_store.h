#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera {

/// The shared table cannot be reached any more.
class StoreLost : public Error {
 public:
  using Error::Error;
};

/// A table of strings that processes on several machines share: c10d's TCPStore, which one of them hosts. It knows no
/// passwords: anyone who reaches the port can read and change it.
///
/// One thread of this object talks to the table, so that no call lasts longer than `patience`, whatever happens to the
/// other machine; it also sends the heartbeats. Every method throws StoreLost once the table is gone.
class SharedStore {
 public:
  using Milliseconds = std::chrono::milliseconds;

  /// Hosts a table at `port` (0: any free one), reachable from this machine alone or from everywhere. Throws Error
  /// when the port is taken.
  static std::unique_ptr<SharedStore> host(uint16_t port, bool this_machine_only, Milliseconds patience);
  /// Reaches the table at host:port; nullptr when nothing listens there or it is not such a table.
  static std::unique_ptr<SharedStore> connect(const std::string& host, uint16_t port, Milliseconds patience);
  /// The host takes the table with it.
  ~SharedStore();
  SharedStore(const SharedStore&) = delete;
  SharedStore& operator=(const SharedStore&) = delete;

  uint16_t port() const { return port_; }

  void set(const std::string& key, const std::string& value);
  /// nullopt when there is no such key.
  std::optional<std::string> get(const std::string& key);
  bool has(const std::string& key);
  /// Adds to a number that begins at 0 and returns the sum.
  int64_t add(const std::string& key, int64_t amount);
  /// Replaces `before` by `after`, unless the value is another one: then false. The key exists.
  bool swap(const std::string& key, const std::string& before, const std::string& after);
  /// Many at once; every key exists.
  std::vector<std::string> get_all(const std::vector<std::string>& keys);
  void set_all(const std::vector<std::string>& keys, const std::string& value);

  /// From now on adds 1 to `key` every `interval`, however many calls are made in between.
  void beat(const std::string& key, Milliseconds interval);

 private:
  struct Table;
  SharedStore(std::shared_ptr<Table> table, uint16_t port, Milliseconds patience);
  template <class Result>
  Result call(const std::function<Result(Table&)>& work);

  std::shared_ptr<Table> table_;
  uint16_t port_;
  Milliseconds patience_;
};

}  // namespace tessera
