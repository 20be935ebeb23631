#include "models/umt5/tokenizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using test::error_of;

// The model of the umt5_encoder fixture: padding 0, end 1, unknown 2; "a" is piece 264.
const std::filesystem::path kModel = std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "umt5_encoder/spiece.model";

TEST(Tokenizer, EndsEveryTextWithTheEndId) {
  const Tokenizer tokenizer(kModel);
  EXPECT_EQ(tokenizer.encode(""), std::vector<int64_t>{1});
  EXPECT_EQ(tokenizer.encode("a"), (std::vector<int64_t>{264, 1}));
  EXPECT_EQ(tokenizer.encode("a a a"), (std::vector<int64_t>{264, 264, 264, 1}));
  EXPECT_EQ(tokenizer.vocab_size(), 481);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), 0);
}

TEST(Tokenizer, TruncatesKeepingTheEndId) {
  const Tokenizer tokenizer(kModel);
  EXPECT_EQ(tokenizer.encode("a a a", 4), (std::vector<int64_t>{264, 264, 264, 1}));
  EXPECT_EQ(tokenizer.encode("a a a", 3), (std::vector<int64_t>{264, 264, 1}));
  EXPECT_EQ(tokenizer.encode("a a a", 1), std::vector<int64_t>{1});
  EXPECT_THROW(tokenizer.encode("a", 0), c10::Error);
}

TEST(Tokenizer, PadsABatch) {
  const TokenBatch batch = Tokenizer(kModel).encode_batch({"a a", "", "a a a a"}, 4);
  const at::Tensor ids = at::tensor(std::vector<int64_t>{264, 264, 1, 0, 1, 0, 0, 0, 264, 264, 264, 1}, at::kLong);
  const at::Tensor mask = at::tensor(std::vector<int64_t>{1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1}, at::kLong);
  EXPECT_TRUE(at::equal(batch.ids, ids.view({3, 4})));
  EXPECT_TRUE(at::equal(batch.mask, mask.view({3, 4})));
}

TEST(Tokenizer, ReadsAModelFromBytesAndCopiesShareIt) {
  const Tokenizer tokenizer = Tokenizer::from_bytes(test::read_text(kModel), "memory");
  const Tokenizer copy = tokenizer;
  EXPECT_EQ(copy.encode("a cat"), Tokenizer(kModel).encode("a cat"));
}

TEST(Tokenizer, TakesHugeAndBrokenText) {
  const Tokenizer tokenizer(kModel);
  std::string huge;
  while (huge.size() < 100000) huge += "a cat ";
  EXPECT_EQ(tokenizer.encode(huge, 512).size(), 512u);
  EXPECT_EQ(tokenizer.encode("a\xff\xfe").back(), 1);
}

TEST(Tokenizer, SaysWhichFileIsNoModel) {
  const std::string bytes = test::read_text(kModel);
  EXPECT_NE(error_of([] { Tokenizer("no/such/spiece.model"); }).find("no/such/spiece.model"), std::string::npos);
  EXPECT_NE(error_of([] { Tokenizer(std::filesystem::path(TESSERA_DEFAULT_FIXTURES)); }).find("cannot read"),
            std::string::npos);
  for (const std::string& broken : {std::string(), std::string("not a model"), bytes.substr(0, bytes.size() / 2)}) {
    const std::string message = error_of([&] { Tokenizer::from_bytes(broken, "folder/spiece.model"); });
    EXPECT_NE(message.find("folder/spiece.model is not a SentencePiece model"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace tessera
