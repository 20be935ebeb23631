#include "media/png_text.h"

#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using test::coded_error_of;
using test::contains;

/// Signature, IHDR of a 1x1 picture and IEND, with the checksums that the PNG specification's own examples have.
std::string skeleton() {
  return std::string("\x89PNG\r\n\x1a\n", 8) +
         std::string("\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90\x77\x53\xDE", 25) +
         std::string("\0\0\0\0IEND\xAE\x42\x60\x82", 12);
}

TEST(PngText, LatinGoesIntoTextAndTheRestIntoInternationalText) {
  const std::string png =
      insert_png_text(skeleton(), {{"a", "caf\xC3\xA9\nx"}, {"b", "\xE2\x98\x85"}, {"c", "tab\t"}, {"d", "\xC2\x85"}});
  EXPECT_TRUE(contains(png, std::string("\0\0\0\x08tEXta\0caf\xE9\nx", 16)));
  EXPECT_TRUE(contains(png, std::string("\0\0\0\x09iTXtb\0\0\0\0\0\xE2\x98\x85", 17)));
  EXPECT_TRUE(contains(png, std::string("iTXtc\0\0\0\0\0tab\t", 14)));
  EXPECT_TRUE(contains(png, std::string("iTXtd\0\0\0\0\0\xC2\x85", 12)));  // a control character of Latin-1
  EXPECT_EQ(png.substr(0, 33), skeleton().substr(0, 33));
  EXPECT_EQ(png.substr(png.size() - 12), skeleton().substr(33));
}

TEST(PngText, ChecksumIsThePngOne) {
  // The expected bytes are Python's zlib.crc32(b"tEXta\0b").
  const std::string png = insert_png_text(skeleton(), {{"a", "b"}});
  EXPECT_EQ(png.substr(33 + 8 + 3, 4), std::string("\xDC"
                                                   "I\xA2\x3B",
                                                   4));
}

TEST(PngText, RoundTrips) {
  const ImageText text = {{"parameters", "a star\nNegative prompt: b\nSteps: 30, Seed: 1"},
                          {"tessera", "{\"prompt\": \"\xF0\x9F\x8C\x9F caf\xC3\xA9 \xE6\x98\x9F\"}"},
                          {"empty", ""},
                          {"latin", "\xC2\xA1\xC3\xBF"}};
  EXPECT_EQ(read_png_text(insert_png_text(skeleton(), text), "x.png"), text);
}

TEST(PngText, RefusesBadKeywordsAndText) {
  EXPECT_EQ(coded_error_of([] { insert_png_text(skeleton(), {{"", "x"}}); }).substr(0, 3), "2: ");
  EXPECT_EQ(coded_error_of([] { insert_png_text(skeleton(), {{std::string(80, 'k'), "x"}}); }).substr(0, 3), "2: ");
  EXPECT_TRUE(contains(coded_error_of([] { insert_png_text(skeleton(), {{"k", "\xFF"}}); }), "is not UTF-8"));
}

TEST(PngText, DamageIsAnErrorNamingTheFile) {
  std::string png = insert_png_text(skeleton(), {{"a", "text"}});
  for (const size_t length : {png.size() - 1, size_t{40}, size_t{8}, size_t{9}})
    EXPECT_TRUE(
        contains(coded_error_of([&] { read_png_text(png.substr(0, length), "x.png"); }), "2: x.png is cut short"))
        << length;
  png[44] ^= 1;
  EXPECT_TRUE(contains(coded_error_of([&] { read_png_text(png, "x.png"); }), "2: x.png is damaged"));
}

TEST(PngText, ChunksOfOtherFormsAreLeftOut) {
  // tEXt without a separator, compressed iTXt, iTXt cut inside its header: all with right checksums, none readable.
  std::string png = skeleton();
  png.insert(33, std::string("\x00\x00\x00\x05"
                             "tEXtnokey\x9A\x24\xFE\x3B",
                             17) +
                     std::string("\x00\x00\x00\x08"
                                 "iTXtk\x00\x01\x00\x00\x00"
                                 "zz\x22\x18\x0C\x23",
                                 20) +
                     std::string("\x00\x00\x00\x06"
                                 "iTXtk\x00\x00\x00"
                                 "en\xAF\x91"
                                 "g\xD9",
                                 18));
  EXPECT_TRUE(read_png_text(png, "x.png").empty());
}

}  // namespace
}  // namespace tessera
