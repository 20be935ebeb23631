#include "weights/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "core/size_limits.h"
#include "weights/pickle_tree.h"
#include "weights/shown.h"

namespace tessera {
namespace {

using Values = std::vector<ArchiveValue>;

constexpr int64_t kWorkOfContainer = 4, kWorkOfCall = 16;
constexpr int64_t kBytesOfWork = 16;  // bytes whose copy costs as much as a value
constexpr size_t kLongestName = 1000;

/// Modules and functions that no honest checkpoint uses. Nothing would run them here; a file that names one is an
/// attack on readers that would.
constexpr const char* kForbiddenModules[] = {
    "os",     "posix",           "nt",      "subprocess", "commands", "pty",        "shutil",   "socket",
    "sys",    "runpy",           "ctypes",  "importlib",  "imp",      "webbrowser", "code",     "pdb",
    "timeit", "multiprocessing", "asyncio", "urllib",     "http",     "requests",   "platform", "signal"};
constexpr const char* kForbiddenBuiltins[] = {"eval",       "exec",  "execfile",   "compile", "open",
                                              "__import__", "input", "breakpoint", "globals", "vars"};

bool is_forbidden(const std::string& module, const std::string& name) {
  const std::string package = module.substr(0, module.find('.'));
  if (std::find(std::begin(kForbiddenModules), std::end(kForbiddenModules), package) != std::end(kForbiddenModules))
    return true;
  return (module == "builtins" || module == "__builtin__") &&
         std::find(std::begin(kForbiddenBuiltins), std::end(kForbiddenBuiltins), name) != std::end(kForbiddenBuiltins);
}

/// Opcodes by their names in Python's pickletools.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kEmptyDict = '}',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kList = 'l',
  kEmptyList = ']',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

class Unpickler {
 public:
  Unpickler(std::span<const uint8_t> bytes, const std::string& where, const PickleHooks& hooks)
      : bytes_(bytes), where_(where), hooks_(hooks) {}

  Unpickled run() {
    while (true) {
      opcode_at_ = at_;
      const auto opcode = take<uint8_t>();
      if (opcode == kStop) break;
      if (!push_number(opcode) && !push_text(opcode) && !use_memo(opcode) && !build_container(opcode) &&
          !build_object(opcode) && !move_stack(opcode))
        fail("opcode " + std::to_string(opcode) +
             " is not one that torch.save or pickle.dump writes in protocols 2 to 5; save the file again with one of "
             "them");
    }
    Unpickled result{pop(), at_, std::move(skipped_)};
    stack_.clear();
    memo_.clear();
    const std::string problem = tree_.release();
    if (!problem.empty()) throw Error(where_ + ": its pickle " + problem);
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(where_ + ": its pickle is damaged at byte " + std::to_string(opcode_at_) + ": " + problem);
  }

  std::span<const uint8_t> range(uint64_t size) {
    if (size > bytes_.size() - at_) fail("it is truncated");
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }
  template <class Number>
  Number take() {
    Number number;
    std::memcpy(&number, range(sizeof(Number)).data(), sizeof(Number));
    return number;
  }
  std::string take_text(uint64_t size) {
    const auto part = range(size);
    return {part.begin(), part.end()};
  }
  std::string take_line() {
    const auto rest = bytes_.subspan(at_);
    const auto end = std::find(rest.begin(), rest.end(), uint8_t{'\n'});
    if (end == rest.end()) fail("it is truncated");
    std::string line(rest.begin(), end);
    at_ += line.size() + 1;
    return line;
  }

  void work(int64_t amount) {
    if ((work_ += amount) > limits::kPickleWork)
      throw Error(where_ + ": its pickle holds more than about " + std::to_string(limits::kPickleWork) +
                  " values; save only the tensors that are needed");
  }
  void push(ArchiveValue value, int64_t amount = 1) {
    work(amount);
    stack_.push_back(std::move(value));
  }
  ArchiveValue pop() {
    if (stack_.size() <= floor()) fail("it uses a value that is not there");
    ArchiveValue value = std::move(stack_.back());
    stack_.pop_back();
    return value;
  }
  ArchiveValue& top() {
    if (stack_.size() <= floor()) fail("it uses a value that is not there");
    return stack_.back();
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  /// The values above the last mark, which is removed too.
  Values pop_mark() {
    if (marks_.empty()) fail("it uses a mark that is not there");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    Values values(std::make_move_iterator(begin), std::make_move_iterator(stack_.end()));
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return values;
  }
  Values pop_last(size_t count) {
    Values values(count);
    for (size_t i = count; i-- > 0;) values[i] = pop();
    return values;
  }

  bool push_number(uint8_t opcode) {
    switch (opcode) {
      case kNone:
        push({});
        return true;
      case kNewTrue:
      case kNewFalse:
        push(opcode == kNewTrue);
        return true;
      case kBinInt:
        push(int64_t{take<int32_t>()});
        return true;
      case kBinInt1:
        push(int64_t{take<uint8_t>()});
        return true;
      case kBinInt2:
        push(int64_t{take<uint16_t>()});
        return true;
      case kLong1:
        push_long(take<uint8_t>());
        return true;
      case kLong4:
        push_long(take<uint32_t>());
        return true;
      case kBinFloat:
        push(std::bit_cast<double>(__builtin_bswap64(take<uint64_t>())));
        return true;
      default:
        return false;
    }
  }

  /// A little-endian two's-complement number; one that needs more than 8 bytes is kept by its size alone.
  void push_long(uint64_t size) {
    const auto digits = range(size);
    if (size > 8) {
      push(tree_.object("int of " + std::to_string(size) + " bytes", false), kWorkOfContainer);
      return;
    }
    uint64_t bits = size > 0 && digits.back() >= 0x80 ? ~uint64_t{0} : 0;
    std::memcpy(&bits, digits.data(), size);
    push(static_cast<int64_t>(bits));
  }

  bool push_text(uint8_t opcode) {
    switch (opcode) {
      case kBinUnicode:
      case kBinString:  // of Python 2, whose strings these are
        push(ArchiveValue::text(take_text(take<uint32_t>())));
        return true;
      case kShortBinUnicode:
      case kShortBinString:
        push(ArchiveValue::text(take_text(take<uint8_t>())));
        return true;
      case kBinUnicode8:
        push(ArchiveValue::text(take_text(take<uint64_t>())));
        return true;
      case kBinBytes:
        push(ArchiveValue::bytes(take_text(take<uint32_t>())));
        return true;
      case kShortBinBytes:
        push(ArchiveValue::bytes(take_text(take<uint8_t>())));
        return true;
      case kBinBytes8:
      case kByteArray8:
        push(ArchiveValue::bytes(take_text(take<uint64_t>())));
        return true;
      default:
        return false;
    }
  }

  bool use_memo(uint8_t opcode) {
    switch (opcode) {
      case kBinPut:
        remember(take<uint8_t>());
        return true;
      case kLongBinPut:
        remember(take<uint32_t>());
        return true;
      case kMemoize:
        remember(memo_.size());
        return true;
      case kBinGet:
        recall(take<uint8_t>());
        return true;
      case kLongBinGet:
        recall(take<uint32_t>());
        return true;
      default:
        return false;
    }
  }
  void remember(uint64_t place) {
    work(1);
    memo_[place] = top();
  }
  void recall(uint64_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end()) fail("it recalls value " + std::to_string(place) + ", which it never stored");
    push(found->second);
  }

  bool build_container(uint8_t opcode) {
    switch (opcode) {
      case kEmptyList:
      case kEmptySet:
      case kEmptyTuple:
        push(tree_.sequence(opcode == kEmptyTuple), kWorkOfContainer);
        return true;
      case kList:
      case kFrozenSet:
      case kTuple: {
        Values items = pop_mark();
        push(tree_.sequence(opcode == kTuple, std::move(items)), kWorkOfContainer);
        return true;
      }
      case kTuple1:
      case kTuple2:
      case kTuple3: {
        Values items = pop_last(size_t{1} + opcode - kTuple1);
        push(tree_.sequence(true, std::move(items)), kWorkOfContainer);
        return true;
      }
      case kEmptyDict:
        push(tree_.dict(), kWorkOfContainer);
        return true;
      case kDict: {
        const Values items = pop_mark();
        push(tree_.dict(), kWorkOfContainer);
        set_items(items);
        return true;
      }
      case kAppend:
        append(pop_last(1));
        return true;
      case kAppends:
      case kAddItems:
        append(pop_mark());
        return true;
      case kSetItem:
        set_items(pop_last(2));
        return true;
      case kSetItems:
        set_items(pop_mark());
        return true;
      default:
        return false;
    }
  }
  void append(Values items) {
    if (const auto sequence = top().sequence_part())
      std::move(items.begin(), items.end(), std::back_inserter(sequence->items));
    else if (!top().object_part())  // of a subclass of list only the fields are kept
      fail("it appends to " + top().description());
  }
  void set_items(const Values& items) {
    const auto object = top().object_part();
    const auto dict = top().dict_part();
    if (!object && !dict) fail("it sets entries of " + top().description());
    if (items.size() % 2 != 0) fail("it sets a key without a value");
    auto& entries = dict ? dict->entries : object->fields.entries;
    for (size_t i = 0; i < items.size(); i += 2) entries.emplace_back(items[i], items[i + 1]);
  }

  bool build_object(uint8_t opcode) {
    switch (opcode) {
      case kGlobal: {
        const std::string module = take_line();
        push_global(module, take_line());
        return true;
      }
      case kStackGlobal: {
        const Values names = pop_last(2);
        if (!names[0].text() || !names[1].text()) fail("it names a class by something other than strings");
        push_global(*names[0].text(), *names[1].text());
        return true;
      }
      case kReduce:
      case kNewObj: {
        const Values parts = pop_last(2);
        call(parts[0], parts[1]);
        return true;
      }
      case kNewObjEx: {
        const Values parts = pop_last(3);  // class, arguments, arguments by name
        call(parts[0], parts[1]);
        return true;
      }
      case kBuild: {
        const ArchiveValue state = pop();
        if (const auto object = top().object_part()) set_state(*object, state);
        return true;  // attributes of plain containers and tensors are not needed
      }
      case kBinPersId: {
        const ArchiveValue id = pop();
        push(hooks_.persistent(id), kWorkOfCall);
        return true;
      }
      default:
        return false;
    }
  }
  void push_global(const std::string& module, const std::string& name) {
    const std::string full = module + "." + name;
    if (full.size() > kLongestName) fail("it names a class with " + std::to_string(full.size()) + " characters");
    if (is_forbidden(module, name))
      throw Error(where_ + ": its pickle names " + shown(full) +
                  ", which could run commands on this machine; nothing was run. Do not trust this file");
    push(tree_.object(full, true), kWorkOfContainer);
  }
  void call(const ArchiveValue& callee, const ArchiveValue& arguments) {
    const auto function = callee.object_part();
    const auto list = arguments.sequence_part();
    if (!function || !list) fail("it calls " + callee.description() + " with " + arguments.description());
    work(kWorkOfCall + static_cast<int64_t>(list->items.size()));
    if (function->is_class)
      if (auto made = hooks_.call(function->class_name, list->items)) {
        if (const at::Tensor* copy = made->tensor(); copy && function->class_name.starts_with("numpy."))
          work(static_cast<int64_t>(copy->nbytes()) / kBytesOfWork);  // PyTorch's tensors are views and cost nothing
        push(adopt(std::move(*made)));
        return;
      }
    const auto object = tree_.object(function->class_name, false);
    object->arguments = list->items;
    const bool listed = std::find(skipped_.begin(), skipped_.end(), object->class_name) != skipped_.end();
    // numpy's arrays are filled later, by their state.
    if (!listed && !object->class_name.starts_with("numpy.") && skipped_.size() < 100)
      skipped_.push_back(object->class_name);
    push(object);
  }
  /// A container made by a hook, recreated as one of this tree.
  ArchiveValue adopt(ArchiveValue made) {
    if (const std::string* copied = made.bytes()) work(static_cast<int64_t>(copied->size()) / kBytesOfWork);
    if (const auto dict = made.dict_part()) {
      work(2 * static_cast<int64_t>(dict->entries.size()));
      const auto own = tree_.dict();
      own->entries = std::move(dict->entries);
      return own;
    }
    if (const auto sequence = made.sequence_part()) {
      work(static_cast<int64_t>(sequence->items.size()));
      return tree_.sequence(sequence->tuple, std::move(sequence->items));
    }
    return made;
  }
  void set_state(ArchiveValue::Object& object, const ArchiveValue& state) {
    if (object.is_class) return;
    const auto copy_fields = [&](const ArchiveValue& part) {
      if (const auto dict = part.dict_part()) {
        work(static_cast<int64_t>(dict->entries.size()));
        object.fields.entries.insert(object.fields.entries.end(), dict->entries.begin(), dict->entries.end());
      }
    };
    copy_fields(state);
    const auto* parts = state.items();
    if (!parts) return;
    if (hooks_.set_state(object, *parts)) {
      work(object.tensor.defined() ? static_cast<int64_t>(object.tensor.nbytes()) / kBytesOfWork : 0);
      return;
    }
    if (parts->size() == 2)  // (attributes, slots)
      for (const auto& part : *parts) copy_fields(part);
  }

  bool move_stack(uint8_t opcode) {
    switch (opcode) {
      case kMark:
        work(1);
        marks_.push_back(stack_.size());
        return true;
      case kPop:
        if (!marks_.empty() && stack_.size() == marks_.back())
          marks_.pop_back();
        else
          pop();
        return true;
      case kPopMark:
        pop_mark();
        return true;
      case kDup: {
        const ArchiveValue copy = top();
        push(copy);
        return true;
      }
      case kProto:
        if (const int protocol = take<uint8_t>(); protocol > 5)
          fail("it uses protocol " + std::to_string(protocol) + ", but only protocols up to 5 are supported");
        return true;
      case kFrame:
        take<uint64_t>();
        return true;
      default:
        return false;
    }
  }

  std::span<const uint8_t> bytes_;
  const std::string& where_;
  const PickleHooks& hooks_;
  size_t at_ = 0, opcode_at_ = 0;
  int64_t work_ = 0;
  PickleTree tree_;  // declared before the holders of its containers, so that it is destroyed after them
  Values stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, ArchiveValue> memo_;
  std::vector<std::string> skipped_;
};

}  // namespace

Unpickled unpickle(std::span<const uint8_t> bytes, const std::string& where, const PickleHooks& hooks) {
  return Unpickler(bytes, where, hooks).run();
}

}  // namespace tessera
