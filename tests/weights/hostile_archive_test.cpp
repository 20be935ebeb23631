#include <sys/resource.h>

#include <random>

#include "tests/weights/archive_support.h"
#include "tests/weights/support.h"
#include "weights/torch_archive.h"

namespace tessera {
namespace {

using test::archive_bytes;
using test::packed;
using test::TemporaryFolder;
using test::write_bytes;
using test::zip_of;
namespace pickle = test::pickle;
using namespace test::pickle;

constexpr int64_t kHuge = int64_t{1} << 62;

class HostileArchive : public testing::Test {
 protected:
  /// The error of an archive with these bytes.
  std::string error_of_file(const std::string& bytes) {
    write_bytes(path(), bytes);
    std::string message = test::error_of([&] { read_torch_archive(path()); });
    EXPECT_NE(message.find(path()), std::string::npos) << message;
    EXPECT_LT(message.size(), 1000u) << message;
    return message;
  }
  void expect_error(const std::string& bytes, const std::vector<std::string>& parts) {
    const std::string message = error_of_file(bytes);
    for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
  }
  void expect_pickle_error(const std::string& bytes, const std::vector<std::string>& parts) {
    expect_error(archive_bytes(bytes, {{"0", std::string(16, '\0')}}), parts);
  }
  std::string path() const { return (folder_ / "hostile.pt").string(); }

  TemporaryFolder folder_;
};

std::string repeated(const std::string& piece, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += piece;
  return all;
}

TEST_F(HostileArchive, TheSupportReallyWritesArchives) {
  const std::string sound = dict_of(pickle::tensor(storage("0", 4), 1, integer(3), integer(1)));
  write_bytes(path(), archive_bytes(sound, {{"0", std::string(16, '\0')}}));
  EXPECT_EQ(read_torch_archive(path()).at("w").sizes(), at::IntArrayRef({3}));
}

TEST_F(HostileArchive, NotAnArchive) {
  expect_error("", {"was not written by torch.save", "empty"});
  expect_error("\x03\x01\x02\x01", {"was not written by torch.save", "4 bytes of something else", "download it again"});
  expect_error("<!DOCTYPE html>", {"web page"});
  expect_error("version https://git-lfs.github.com/spec/v1\n", {"git lfs pull"});
  expect_error("\x80\x02K\x01.", {"plain pickle", "torch.save"});
  expect_error(zip_of({{"a.npy", "x"}}), {"numpy arrays"});
  expect_error(zip_of({{"a/data.pkl", "x"}, {"b/data.pkl", "x"}}), {"two pickles"});
  expect_error("PK\x03\x04 and then nothing", {"truncated"});
  EXPECT_ERROR(read_torch_archive(folder_ / "nowhere.pt"), "no such file");
}

TEST_F(HostileArchive, FunctionsThatActOnTheMachineAreRefusedByName) {
  const auto call = [](const std::string& module, const std::string& name) {
    return kBegin + global(module, name) + tuple(text("touch /tmp/owned")) + kReduce + kEnd;
  };
  expect_pickle_error(call("os", "system"), {"names \"os.system\"", "nothing was run"});
  expect_pickle_error(call("posix", "system"), {"names \"posix.system\""});
  expect_pickle_error(call("subprocess", "Popen"), {"names \"subprocess.Popen\""});
  expect_pickle_error(call("builtins", "eval"), {"names \"builtins.eval\""});
  expect_pickle_error(call("__builtin__", "exec"), {"names \"__builtin__.exec\""});
  expect_pickle_error(call("importlib.util", "find_spec"), {"names \"importlib.util.find_spec\""});
  // Deep inside an optimizer's state, named by protocol 4, never called: still refused.
  expect_pickle_error(dict_of(kEmptyList + text("os") + text("system") + "\x93" + kAppend), {"names \"os.system\""});
}

TEST_F(HostileArchive, WhatAnUnknownFunctionGivesIsNoTensor) {
  const std::string unknown = global("attack", "tensor") + tuple(text("x")) + kReduce;
  expect_pickle_error(dict_of(unknown), {"\"w\"", "an object of \"attack.tensor\""});
  expect_pickle_error(kBegin + unknown + kEnd, {"an object of \"attack.tensor\"", "want a dict of tensors"});
  expect_pickle_error(dict_of(global("torch._utils", "_rebuild_tensor_v2") + tuple(unknown) + kReduce),
                      {"_rebuild_tensor_v2", "1 arguments"});
}

TEST_F(HostileArchive, TruncatedAndUnbalancedPickles) {
  const std::string sound = dict_of(pickle::tensor(storage("0", 4), 0, integer(4), integer(1)));
  for (size_t size = 0; size < sound.size(); ++size) expect_pickle_error(sound.substr(0, size), {"its pickle"});
  expect_pickle_error(".", {"uses a value that is not there"});
  expect_pickle_error(kBegin + "t.", {"a mark that is not there"});
  expect_pickle_error(kBegin + "((0s.", {"not there"});
  expect_pickle_error(kBegin + "h\x05.", {"recalls value 5"});
  expect_pickle_error(kBegin + "K\x01K\x02" + kReduce + kEnd, {"calls an integer with an integer"});
  expect_pickle_error(kBegin + "K\x01" + kEmptyList + kAppend + kEnd, {"appends to an integer"});
  expect_pickle_error(kBegin + "X\xff\xff\xff\xff.", {"truncated"});
  expect_pickle_error(kBegin + "\x8d" + packed<uint64_t>(~uint64_t{0}) + ".", {"truncated"});
  expect_pickle_error(kBegin + "\x82\x01.", {"opcode 130"});
}

TEST_F(HostileArchive, TensorsThatDoNotLieInTheirStorage) {
  const auto expect = [&](const std::string& tensor, const std::vector<std::string>& parts) {
    expect_pickle_error(dict_of(tensor), parts);
  };
  const std::string four = storage("0", 4);
  expect(pickle::tensor(four, 0, integer(5), integer(1)), {"storage \"0\"", "[5]", "the storage has 4"});
  expect(pickle::tensor(four, 1, integer(4), integer(1)), {"does not lie inside"});
  expect(pickle::tensor(four, -1, integer(1), integer(1)), {"from element -1"});
  expect(pickle::tensor(four, 0, integer(-1), integer(1)), {"[-1]"});
  expect(pickle::tensor(four, 0, integer(2), integer(-1)), {"strides [-1]"});
  expect(pickle::tensor(four, 0, integer(2), integer(kHuge)), {"does not lie inside"});
  expect(pickle::tensor(four, 0, integer(kHuge), integer(1)), {"does not lie inside"});
  expect(pickle::tensor(four, 0, integer(kHuge), integer(0)), {"does not lie inside"});
  expect(pickle::tensor(four, 0, integer(kHuge) + integer(4), integer(0) + integer(0)), {"does not lie inside"});
  expect(pickle::tensor(four, kHuge, integer(kHuge), integer(2)), {"does not lie inside"});
  expect(pickle::tensor(four, 0, integer(0) + integer(kHuge) + integer(kHuge), integer(1) + integer(1) + integer(1)),
         {"does not lie inside"});
  expect(pickle::tensor(four, 0, integer(1), ""), {"1 sizes and 0 strides"});
  expect(pickle::tensor(four, 0, repeated(integer(1), 65), repeated(integer(1), 65)), {"65 sizes"});
}

TEST_F(HostileArchive, StoragesThatAreNotThere) {
  const auto expect = [&](const std::string& from, const std::vector<std::string>& parts) {
    expect_pickle_error(dict_of(pickle::tensor(from, 0, integer(1), integer(1))), parts);
  };
  expect(storage("0", 5), {"storage \"0\" has 16 bytes", "says 20"});
  expect(storage("0", kHuge), {"impossible number of elements"});
  expect(storage("0", -1), {"impossible number of elements"});
  expect(storage("1", 4), {"no entry", "archive/data/1"});
  expect(storage("../../etc/passwd", 4), {"no entry"});
  expect(storage("0", 4, "QInt8Storage"), {"torch.QInt8Storage", "quantized"});
  expect(tuple(text("storage") + kNone) + kPersistentId, {"a storage is named by a tuple"});
  expect(kNone + kPersistentId, {"a storage is named by None"});
}

TEST_F(HostileArchive, CyclesDepthAndMemoAbuse) {
  // l = []; l.append(l)
  expect_pickle_error(kBegin + kEmptyList + put(0) + get(0) + kAppend + kEnd, {"contains itself"});
  // d = {}; d["w"] = (d,)
  expect_pickle_error(kBegin + kEmptyDict + put(0) + text("w") + get(0) + "\x85" + kSetItem + kEnd,
                      {"contains itself"});
  expect_pickle_error(kBegin + repeated("(", 100'000) + repeated("t", 100'000) + kEnd, {"more than 100 nested levels"});
  expect_pickle_error(kBegin + kEmptyTuple + repeated("\x85", 1'000'000) + kEnd, {"more than 100 nested levels"});
  // A hundred-deep chain dropped half way, then an error: what was built is taken down without recursion.
  expect_pickle_error(kBegin + kEmptyTuple + repeated("\x85", 1'000'000) + "\xff", {"opcode 255"});
  // Every level holds the one below ten times: 10^30 values in 300 bytes.
  std::string laughs = kBegin + kEmptyTuple;
  for (int level = 0; level < 30; ++level) laughs += put(0) + repeated(get(0), 9) + "\x85\x86\x86\x86\x86\x86\x87";
  expect_pickle_error(laughs + kEnd, {"more than 10000000 values"});
}

TEST_F(HostileArchive, CyclesThroughObjectsAndBesideSoundWeights) {
  const std::string thing = global("attack", "Thing") + kEmptyTuple + kReduce,
                    cyclic = kEmptyList + put(0) + get(0) + kAppend;
  const std::string sound = pickle::tensor(storage("0", 4), 0, integer(4), integer(1));
  // x = Thing(); x.__setstate__({"self": x}); a state that is no dict is not kept.
  expect_pickle_error(kBegin + thing + put(0) + get(0) + kBuild + kEnd, {"an object of \"attack.Thing\""});
  expect_pickle_error(kBegin + thing + put(0) + kEmptyDict + text("self") + get(0) + kSetItem + kBuild + kEnd,
                      {"contains itself"});
  // d = OrderedDict(); d["w"] = d
  expect_pickle_error(kBegin + global("collections", "OrderedDict") + kEmptyTuple + kReduce + put(0) + text("w") +
                          get(0) + kSetItem + kEnd,
                      {"contains itself"});
  // l = []; t = (l,); l.append(t)
  expect_pickle_error(kBegin + kEmptyList + put(0) + "\x85" + put(1) + "0" + get(0) + get(1) + kAppend + kEnd,
                      {"contains itself"});
  // {"w": tensor, "optimizer": cyclic}, and a cycle that the value does not reach.
  expect_pickle_error(kBegin + kEmptyDict + text("w") + sound + kSetItem + text("optimizer") + cyclic + kSetItem + kEnd,
                      {"contains itself"});
  expect_pickle_error(kBegin + cyclic + "0" + kEmptyDict + text("w") + sound + kSetItem + kEnd, {"contains itself"});
}

TEST_F(HostileArchive, ViewsThatRepeatTheirStorageAreBounded) {
  const std::string four = storage("0", 4), data(16, '\0');
  const auto repeated_view = [&](int64_t times) {
    return archive_bytes(dict_of(pickle::tensor(four, 3, integer(times), integer(0))), {{"0", data}});
  };
  write_bytes(path(), repeated_view(1 << 24));
  EXPECT_EQ(read_torch_archive(path()).at("w").numel(), 1 << 24);
  expect_error(repeated_view((1 << 24) + 1), {"does not lie inside", "16777217"});
}

TEST_F(HostileArchive, StoragesThatOverlap) {
  const std::string two = kBegin + kEmptyDict + text("a") + pickle::tensor(storage("0", 4), 0, integer(4), integer(1)) +
                          kSetItem + text("b") + pickle::tensor(storage("1", 4), 0, integer(4), integer(1)) + kSetItem +
                          kEnd;
  const std::string sound = archive_bytes(two, {{"0", std::string(16, 'x')}, {"1", std::string(16, 'y')}});
  write_bytes(path(), sound);
  EXPECT_EQ(read_torch_archive(path()).tensors().size(), 2u);
  const size_t pickled = sound.find("PK\x01\x02"), first = sound.find("PK\x01\x02", pickled + 4),
               second = sound.find("PK\x01\x02", first + 4);
  const auto with = [&](size_t place, const std::string& bytes) {
    std::string changed = sound;
    return changed.replace(place, bytes.size(), bytes);
  };
  const std::vector<std::string> both = {"archive/data/0", "archive/data/1", "overlap"};
  expect_error(with(second + 42, sound.substr(first + 42, 4)), both);  // one place for both
  expect_error(with(first + 20, packed<uint32_t>(64) + packed<uint32_t>(64)),
               both);  // the first reaches into the second
}

TEST_F(HostileArchive, ADeepChainOfAnyKindIsRefused) {
  constexpr size_t kDeep = 200'000;
  const std::vector<std::string> deep = {"nested levels"};
  const std::string two = "K\x01";
  expect_pickle_error(kBegin + repeated(kEmptyList, kDeep) + repeated(kAppend, kDeep - 1) + kEnd, deep);
  expect_pickle_error(kBegin + repeated(kEmptyDict + two, kDeep) + kEmptyDict + repeated(kSetItem, kDeep) + kEnd, deep);
  expect_pickle_error(kBegin + repeated(kMark, kDeep) + repeated("\x91", kDeep) + kEnd, deep);  // frozen sets
  const std::string object = global("a", "B") + kEmptyTuple + "\x81";
  expect_pickle_error(
      kBegin + repeated(object + kEmptyDict + two, kDeep / 10) + kNone + repeated(kSetItem + kBuild, kDeep / 10) + kEnd,
      deep);
  expect_pickle_error(
      kBegin + repeated(global("a", "B"), kDeep) + kEmptyTuple + repeated(kReduce + "\x85", kDeep) + kEnd,
      {"its pickle"});
}

TEST_F(HostileArchive, SubclassesOfTensorsAreNotNestedInEachOther) {
  // _rebuild_from_type_v2(function, type, arguments, state), whose function is itself, 200,000 deep.
  constexpr size_t kDeep = 200'000;
  const std::string itself = global("torch._tensor", "_rebuild_from_type_v2");
  expect_pickle_error(kBegin + itself + put(0) + repeated(kMark + get(0) + get(0), kDeep) + kEmptyTuple +
                          repeated(kTuple, kDeep) + kReduce + kEnd,
                      {"its pickle is damaged", "itself"});
  const std::string sound = itself +
                            tuple(global("torch._utils", "_rebuild_tensor_v2") + global("torch", "Tensor") +
                                  tuple(storage("0", 4) + integer(1) + tuple(integer(3)) + tuple(integer(1)) + kFalse +
                                        global("collections", "OrderedDict") + kEmptyTuple + kReduce) +
                                  kEmptyDict) +
                            kReduce;
  write_bytes(path(), archive_bytes(dict_of(sound), {{"0", std::string(16, '\0')}}));
  EXPECT_EQ(read_torch_archive(path()).at("w").sizes(), at::IntArrayRef({3}));
}

TEST_F(HostileArchive, MemoryStaysBounded) {
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
  };
  const auto before = peak();
  for (const std::string& piece : {std::string("]"), std::string("N"), std::string("(t"), std::string("2"),
                                   std::string("(]}l"), put(0) + "2", global("a", "b") + ")R"})
    expect_pickle_error(kBegin + "N" + repeated(piece, 12'000'000 / piece.size()), {"its pickle"});
  // A text of 1 MB is copied as bytes by every call.
  expect_pickle_error(kBegin + text("latin1") + put(0) + text(std::string(1'000'000, 'x')) + put(1) +
                          repeated(global("_codecs", "encode") + get(1) + get(0) + "\x86R", 100'000) + kEnd,
                      {"its pickle holds more"});
  expect_pickle_error(
      kBegin + "\x8d" + packed<uint64_t>(2'000'000) + std::string(2'000'000, 'x') + put(0) + get(0) + "\x93" + kEnd,
      {"4000001 characters"});
  EXPECT_LT(peak() - before, 1500) << "MB";
}

TEST_F(HostileArchive, DamagedDirectories) {
  const std::string sound = archive_bytes(dict_of(pickle::tensor(storage("0", 4), 0, integer(4), integer(1))),
                                          {{"0", std::string(16, '\0')}});
  const size_t end = sound.size() - 22, first = sound.find("PK\x01\x02"), second = sound.find("PK\x01\x02", first + 4);
  const auto with = [&](size_t place, const std::string& bytes) {
    std::string changed = sound;
    return changed.replace(place, bytes.size(), bytes);
  };
  expect_error(sound.substr(0, sound.size() - 1), {"truncated"});
  expect_error(with(end + 16, packed<uint32_t>(0x7fffffff)), {"does not lie inside the file"});
  expect_error(with(end + 12, packed<uint32_t>(0xfffffff0)), {"does not lie inside the file"});
  expect_error(with(end + 10, packed<uint16_t>(60000)), {"does not lie inside the file"});
  expect_error(with(first + 42, packed<uint32_t>(0x7ffffff0)), {"should lie at byte 2147483632"});
  expect_error(with(second + 42, packed<uint32_t>(0)), {"overlap"});
  expect_error(with(second + 20, packed<uint32_t>(1 << 30) + packed<uint32_t>(1 << 30)), {"beyond the"});
  expect_error(with(second + 24, packed<uint32_t>(1 << 30)), {"has two sizes"});
  expect_error(with(second + 8, packed<uint16_t>(1)), {"encrypted"});
  // A bomb: a few deflated bytes that claim to be a gigabyte.
  expect_error(
      with(second + 10, packed<uint16_t>(8) + std::string(8, '\0') + packed<uint32_t>(16) + packed<uint32_t>(1 << 30)),
      {"compressed"});
  for (size_t size = 4; size < sound.size(); ++size) error_of_file(sound.substr(0, size));
}

TEST_F(HostileArchive, BigEndian) {
  expect_error(zip_of({{"a/data.pkl", kBegin + kNone + kEnd}, {"a/byteorder", "big"}}), {"big-endian"});
}

TEST_F(HostileArchive, LegacyArchivesAreCheckedToo) {
  const std::string folder = TESSERA_SOURCE_DIR "/tests/data/torch_archives/";
  const std::string sound = test::read_text(folder + "dtypes_legacy.pt");
  for (size_t size = 15; size < sound.size(); size += 7) error_of_file(sound.substr(0, size));
  std::string version = sound;
  version[version.find("M\xe9\x03") + 1] = 0;
  expect_error(version, {"format version"});
  std::string big = sound;
  big[big.find("little_endian") + 13 + 2] = '\x89';
  expect_error(big, {"big-endian"});
}

TEST_F(HostileArchive, ThreeThousandRandomMutationsLoadOrThrowError) {
  const std::string folder = TESSERA_SOURCE_DIR "/tests/data/torch_archives/";
  std::mt19937 random(20240607);
  int loaded = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = test::read_text(folder + (i % 2 ? "views.pt" : "views_legacy.pt"));
    for (unsigned edit = 0; edit <= random() % 3; ++edit)
      bytes[random() % bytes.size()] = static_cast<char>(random() % 2 ? random() : 1 << random() % 8);
    write_bytes(path(), bytes);
    try {
      const TensorFile file = read_torch_archive(path());
      for (const auto& [name, tensor] : file.tensors()) tensor.to(at::kDouble).sum().item<double>();
      ++loaded;
    } catch (const Error& e) {
      ++refused;
      ASSERT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    }
  }
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace tessera
