#include "models/umt5/spiece_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "models/umt5/tokenizer.h"

namespace tessera {
namespace {

/// A field of bytes of a protocol buffer; sizes below 16384.
std::string field(int number, const std::string& bytes) {
  const size_t size = bytes.size();
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>((size & 127) | 128),
                     static_cast<char>(size >> 7)} +
         bytes;
}

template <class Number>
std::string packed(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

std::string piece(const std::string& text, float score) {
  return field(1, field(1, text) + "\x15" + packed(score));
}

/// A normalizer whose character map is this trie, padded to one block of 256 units, and these texts.
std::string normalizer(std::vector<uint32_t> units, const std::string& texts) {
  units.resize(256);
  std::string trie(reinterpret_cast<const char*>(units.data()), units.size() * sizeof(uint32_t));
  return field(3, field(2, packed(static_cast<uint32_t>(trie.size())) + trie + texts));
}

// Root: offset 0. State 0, byte 'a' (97): a unit labeled 97 whose children are at 97 ^ 96 = 1, with a leaf there.
std::vector<uint32_t> sound_trie() {
  std::vector<uint32_t> units(256);
  units[97] = 97 | 1u << 8 | 96u << 10;
  units[1] = 1u << 31 | 0;  // the text at 0
  return units;
}

TEST(SpieceCheck, SoundModelsPass) {
  EXPECT_EQ(spiece_problem(""), "");
  EXPECT_EQ(spiece_problem(piece("a", 0) + normalizer(sound_trie(), std::string("b\0", 2))), "");
  const std::filesystem::path corpus = TESSERA_SOURCE_DIR "/tests/fuzz/corpus/tokenizer";
  for (const char* name : {"bpe_custom.model", "unigram_custom.model", "word_identity.model"}) {
    std::ostringstream bytes;
    bytes << std::ifstream(corpus / name, std::ios::binary).rdbuf();
    EXPECT_EQ(spiece_problem(bytes.str()), "") << name;
    EXPECT_GT(Tokenizer(corpus / name).vocab_size(), 10) << name;
  }
}

TEST(SpieceCheck, Pieces) {
  EXPECT_EQ(spiece_problem(piece(std::string("a\0b", 3), 0)), "has a piece with a zero byte");
  EXPECT_EQ(spiece_problem(piece("a", 0) + piece("", 0)), "has an empty piece");
  EXPECT_EQ(spiece_problem(piece("a", NAN)), "has a piece whose score is not finite");
  EXPECT_EQ(spiece_problem(piece("a", -INFINITY)), "has a piece whose score is not finite");
}

TEST(SpieceCheck, CharacterMaps) {
  const std::string damaged = "has a damaged character map", text("b\0", 2);
  EXPECT_EQ(spiece_problem(normalizer(sound_trie(), "b")), damaged);  // a text without an end
  auto leaf = sound_trie();
  leaf[1] = 1u << 31 | 2;  // one byte behind the texts
  EXPECT_EQ(spiece_problem(normalizer(leaf, text)), damaged);
  auto far = sound_trie();
  far[97] = 97 | 1u << 9 | 1u << 10;  // children 256 units away, beyond the block
  EXPECT_EQ(spiece_problem(normalizer(far, text)), damaged);
  auto root = sound_trie();
  root[0] = 256u << 10;
  EXPECT_EQ(spiece_problem(normalizer(root, text)), damaged);
  EXPECT_EQ(spiece_problem(field(3, field(2, packed(uint32_t{4}) + packed(uint32_t{0}) + text))), damaged);
  EXPECT_EQ(spiece_problem(field(3, field(2, packed(uint32_t{0}) + text))), damaged);   // no trie at all
  EXPECT_EQ(spiece_problem(field(5, field(2, packed(~uint32_t{0}) + text))), damaged);  // the denormalizer's too
}

TEST(SpieceCheck, DamagedFields) {
  const std::string whole = piece("a", 0);
  for (size_t size = 1; size < whole.size(); ++size) EXPECT_NE(spiece_problem(whole.substr(0, size)), "") << size;
  // A tag above 32 bits would be another field to the library.
  EXPECT_EQ(spiece_problem("\x9a\x80\x80\x80\x80\x01" + std::string(1, '\0')), "is damaged or cut off");
}

TEST(SpieceCheck, TheTokenizerSaysIt) {
  try {
    Tokenizer::from_bytes(piece(std::string("a\0b", 3), 0), "hostile.model");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("hostile.model is not a SentencePiece model"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("a piece with a zero byte"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace tessera
