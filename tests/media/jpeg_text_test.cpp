#include "media/jpeg_text.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace tessera {
namespace {

std::string segment(int marker, const std::string& body) {
  const size_t length = body.size() + 2;
  return std::string{'\xFF', static_cast<char>(marker), static_cast<char>(length >> 8), static_cast<char>(length)} +
         body;
}

std::string file_of(const std::string& segments) {
  return "\xFF\xD8" + segments + "\xFF\xDA pixels \xFF\xFE\x7F\x7F";
}

std::string file_of(const std::vector<JpegSegment>& segments) {
  std::string text;
  for (const JpegSegment& part : segments) text += segment(part.marker, part.body);
  return file_of(text);
}

/// EXIF of little-endian order with a camera's entry before the directory that holds UserComment, in ASCII.
std::string little_exif(const std::string& comment) {
  const auto entry = [](const std::string& tag, char type, size_t count, char value) {
    return tag + std::string{type, 0, static_cast<char>(count), 0, 0, 0, value, 0, 0, 0};
  };
  const std::string header("Exif\0\0II*\0\x08\0\0\0", 14), next(4, '\0');
  const std::string directory =
      std::string("\x02\0", 2) + entry("\x0F\x01", 2, 4, 'x') + entry("\x69\x87", 4, 1, 38) + next;
  const std::string exif = std::string("\x01\0", 2) + entry("\x86\x92", 7, 8 + comment.size(), 56) + next;
  return header + directory + exif + std::string("ASCII\0\0\0", 8) + comment;
}

TEST(JpegText, ComesBackAsItWas) {
  const ImageText text = {{"parameters", "a caf\u00e9, \U0001F984\nSteps: 3"}, {"tessera", R"({"job": "é"})"}};
  const std::vector<JpegSegment> segments = jpeg_text_segments(text);
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].marker, 0xE1);
  EXPECT_EQ(segments[1].marker, 0xFE);
  EXPECT_EQ(segments[1].body, text.at("tessera"));
  // UTF-16, big-endian as the TIFF header says, behind the name of the code.
  const std::string coded = std::string("UNICODE\0\0a\0 \0c\0a\0f\0\xE9\0,\0 \xD8\x3E\xDD\x84\0\n", 30);
  EXPECT_NE(segments[0].body.find(coded), std::string::npos);
  EXPECT_EQ(segments[0].body.substr(0, 10), std::string("Exif\0\0MM\0*", 10));
  EXPECT_EQ(read_jpeg_text(file_of(segments), "x.jpg"), text);
  EXPECT_THROW(jpeg_text_segments({{"workflow", "x"}}), c10::Error);
}

TEST(JpegText, WhatIsTooLongForOneSegmentGoesOnInTheNext) {
  const std::string recipe = "{" + std::string(2 * 65533, 'r') + "}";
  const std::vector<JpegSegment> segments =
      jpeg_text_segments({{"parameters", std::string(40000, 'p')}, {"tessera", recipe}});
  ASSERT_EQ(segments.size(), 3u) << "80,000 bytes of UTF-16 do not fit into EXIF";
  EXPECT_EQ(segments[0].body.size(), 65533u);
  std::vector<JpegSegment> with_more = segments;
  const JpegSegment more{.marker = 0xFE, .body = "another program's"};
  with_more.push_back(more);
  EXPECT_EQ(read_jpeg_text(file_of(with_more), "x.jpg"), (ImageText{{"tessera", recipe}}));
}

TEST(JpegText, ReadsWhatOtherProgramsWrite) {
  const std::string exif = segment(0xE0, "JFIF and so on") + segment(0xE1, little_exif("a cat\nSteps: 20"));
  EXPECT_EQ(read_jpeg_text(file_of(exif), "x.jpg"), (ImageText{{"parameters", "a cat\nSteps: 20"}}));
  EXPECT_EQ(read_jpeg_text(file_of(segment(0xFE, "CREATOR: a scanner")), "x.jpg"), ImageText{});
  EXPECT_EQ(read_jpeg_text(file_of(segment(0xE1, "http://ns.adobe.com/xap/1.0/")), "x.jpg"), ImageText{});
}

TEST(JpegText, DamagedExifIsNoTextAndACutIsAnError) {
  const std::string whole = little_exif("a cat");
  for (size_t at = 6; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = '\xFF';
    read_jpeg_text(file_of(segment(0xE1, damaged)), "x.jpg");
    read_jpeg_text(file_of(segment(0xE1, whole.substr(0, at))), "x.jpg");
  }
  const std::string file = file_of(segment(0xE1, whole));
  EXPECT_ERROR(read_jpeg_text(file.substr(0, 30), "x.jpg"), "x.jpg is cut short");
  EXPECT_ERROR(read_jpeg_text("\xFF\xD8", "x.jpg"), "x.jpg is cut short");
}

}  // namespace
}  // namespace tessera
