#include "media/declared_size.h"

#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using namespace std::string_literals;
using test::write_bytes;

class DeclaredSizeTest : public test::FolderTest {
 protected:
  std::optional<uint64_t> of(const std::string& bytes) {
    write_bytes(folder / "x", bytes);
    return declared_size(folder / "x");
  }
};

const std::string kType = "\0\0\0\20ftypisom\0\0\0\0"s;  // 16 bytes

TEST_F(DeclaredSizeTest, BoxesOfMp4) {
  EXPECT_EQ(of(kType + "\0\0\0\14mdatabcd"s), 28u);
  EXPECT_EQ(of(kType + "\0\0\1\0mdatabcd"s), 272u) << "more than is there";
  EXPECT_EQ(of(kType + "\0\0\0\1mdat\0\0\0\1\0\0\0\0"s), 16 + (uint64_t{1} << 32)) << "a length of 64 bits";
  EXPECT_EQ(of(kType + "\0\0\0\0mdatabcd"s), std::nullopt) << "to the end of the file";
  EXPECT_EQ(of(kType + "\0\0\0\14mdatabcdsome words"s), 28u) << "not a box any more";
  EXPECT_EQ(of("no video, but words"), std::nullopt);
  EXPECT_EQ(of(""), std::nullopt);
}

TEST_F(DeclaredSizeTest, ChunksOfAvi) {
  EXPECT_EQ(of("RIFF\12\0\0\0AVI abcdef"s), 18u);
  EXPECT_EQ(of("RIFF\13\0\0\0AVI abcdefg\0RIFF\100\0\0\0AVIXabcd"s), 20u + 8 + 64) << "two chunks, the first odd";
  EXPECT_EQ(of("RIFF\0\0\0\0AVI abcdef"s), std::nullopt) << "never filled in";
  EXPECT_EQ(of("RIFF\12\0\0\0WAVEabcdef"s), std::nullopt);
}

TEST_F(DeclaredSizeTest, TheSegmentOfMatroska) {
  const std::string header = "\x1A\x45\xDF\xA3\x82\1\2"s, segment = "\x18\x53\x80\x67"s;
  EXPECT_EQ(of(header + segment + "\x85"s + "abcde"), 7u + 4 + 1 + 5);
  EXPECT_EQ(of(header + segment + "\x41\x00"s + "abcde"), 7u + 4 + 2 + 256);
  EXPECT_EQ(of(header + segment + "\xFF"s + "abcde"), std::nullopt) << "a live recording";
  EXPECT_EQ(of(header + segment + "\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF"s + "abcde"), std::nullopt);
}

TEST_F(DeclaredSizeTest, BlocksOfGif) {
  const std::string screen = "GIF89a\1\0\1\0\x80\0\0abcdef"s;  // with two colors
  const std::string frame = ",\0\0\0\0\1\0\1\0\0\2\3xyz\0"s, extension = "!\xF9\4abcd\0"s;
  const size_t whole = screen.size() + extension.size() + frame.size();
  EXPECT_EQ(of(screen + extension + frame + ";"), whole + 1);
  EXPECT_EQ(of(screen + extension + frame + ";behind"), whole + 1);
  EXPECT_EQ(of(screen + extension + frame), whole + 1) << "no end";
  EXPECT_GT(of(screen + extension + frame.substr(0, 14)), screen.size() + extension.size() + 14) << "cut in a block";
}

}  // namespace
}  // namespace tessera
