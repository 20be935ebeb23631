#include "models/umt5/prompt_clean.h"
#include "models/umt5/tokenizer.h"
#include "tests/fuzz/fuzz_support.h"

/// A SentencePiece model, loaded and used on a few texts; an input that begins with '>' is a text for prompt_clean.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  const std::string_view bytes = fuzz::text_of(data, size);
  if (bytes.starts_with('>')) {
    fuzz::expect_value_or_error([&] { clean_prompt(std::string(bytes.substr(1))); });
    return 0;
  }
  fuzz::expect_value_or_error([&] {
    const Tokenizer tokenizer = Tokenizer::from_bytes(bytes, "input");
    for (const std::string text :
         {"", "A red square moves left.", "  caf\xc3\xa9 \xe2\x84\xa2 \xe4\xbd\xa0\xe5\xa5\xbd ", "\xff\xfe\x80",
          "\xf0\x9f\x8c\x8a</s><pad>\xe2\x96\x81"})
      for (const int64_t id : tokenizer.encode(text))
        if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    (void)tokenizer.encode("many words are cut to a few", 4);
  });
  return 0;
}
