#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weights/archive_value.h"

namespace tessera {

/// What interpreting a pickle needs from outside; nothing in the pickle is ever executed.
struct PickleHooks {
  /// The value that a persistent id stands for: in a PyTorch archive, a storage. Throws Error.
  std::function<ArchiveValue(const ArchiveValue& id)> persistent;
  /// What calling `name`, e.g. "collections.OrderedDict", with `arguments` gives; nullopt when it is not on the
  /// allow-list: the result is then an Object that only records them. Throws Error.
  std::function<std::optional<ArchiveValue>(const std::string& name, const std::vector<ArchiveValue>& arguments)> call;
  /// Sets a state other than a dict on an object that `call` did not create; false for an unknown one.
  std::function<bool(ArchiveValue::Object& object, const std::vector<ArchiveValue>& state)> set_state;
};

/// A value, and where its pickle ends.
struct Unpickled {
  ArchiveValue value;
  size_t size = 0;                   ///< bytes of the pickle
  std::vector<std::string> skipped;  ///< classes whose objects were only recorded, in order, each once
};

/// Interprets the pickle at the beginning of `bytes` (the binary opcodes of protocols 2 to 5). Throws Error naming
/// `where` when it is damaged or truncated, names a function with side effects (os.system, builtins.eval, ...), holds
/// a cycle, has more than 100 nested levels, or more than about six million values (ten million when shared ones count
/// every time they occur): memory stays within 1.5 GB whatever the pickle's length.
Unpickled unpickle(std::span<const uint8_t> bytes, const std::string& where, const PickleHooks& hooks);

}  // namespace tessera
