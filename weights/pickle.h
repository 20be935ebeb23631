#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weights/archive_value.h"

namespace tessera {

/// What a pickle cannot do by itself; nothing in it is ever executed.
struct PickleHooks {
  /// The value that a persistent id stands for: in a PyTorch archive, a storage. Throws Error.
  std::function<ArchiveValue(const ArchiveValue& id)> persistent;
  /// What calling `name`, e.g. "collections.OrderedDict", with `arguments` gives; nullopt when it is not on the
  /// allow-list, and then the result is an Object that only remembers them. Throws Error.
  std::function<std::optional<ArchiveValue>(const std::string& name, const std::vector<ArchiveValue>& arguments)> call;
  /// Completes an object that `call` did not make by a state that is no dict; false when it does not know it.
  std::function<bool(ArchiveValue::Object& object, const std::vector<ArchiveValue>& state)> set_state;
};

/// A value that was read, and where its pickle ends.
struct Unpickled {
  ArchiveValue value;
  size_t size = 0;                   ///< bytes of the pickle
  std::vector<std::string> skipped;  ///< classes whose objects were only remembered, in order, each once
};

/// Interprets the pickle at the beginning of `bytes` (the binary opcodes of protocols 2 to 5). Throws Error naming
/// `where` when it is damaged or truncated, names a function with side effects (os.system, builtins.eval, ...), holds
/// a cycle, is nested more than 100 deep, or holds more than about six million values (ten million when shared ones
/// count wherever they occur): whatever its length, memory stays within 1.5 GB.
Unpickled unpickle(std::span<const uint8_t> bytes, const std::string& where, const PickleHooks& hooks);

}  // namespace tessera
