#include "batch/gallery.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "batch/gallery_html.h"
#include "core/error.h"
#include "core/sha256.h"
#include "media/image_io.h"
#include "media/video_writer.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using nlohmann::json;

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class Gallery : public testing::Test {
 protected:
  void record(const json& entry) { std::ofstream(folder / "manifest.jsonl", std::ios::app) << entry.dump() << "\n"; }

  /// A finished picture, its file included.
  json picture(const std::string& id, const std::string& prompt) {
    write_png(folder / (id + ".png"), at::full({8, 8, 3}, 90, at::kByte));
    return {{"id", id},
            {"status", "done"},
            {"output", id + ".png"},
            {"sha256", id + "00"},
            {"seconds", {{"text", 0.5}, {"denoise", 1.25}, {"decode", 0.25}}},
            {"recipe", {{"prompt", prompt}, {"seed", 7}, {"width", 8}, {"height", 8}, {"frames", 1}, {"steps", 4}}}};
  }

  std::string page() { return test::read_text(folder / "index.html"); }

  /// What the page's script reads.
  json data() {
    const std::string html = page(), start = "id=\"data\">";
    const size_t from = html.find(start) + start.size();
    return json::parse(html.substr(from, html.find("</script>", from) - from));
  }

  test::TemporaryFolder folder;
};

TEST_F(Gallery, ShowsWhatTheRecordSays) {
  record(picture("cat", "a cat"));
  const GallerySummary made = write_gallery(folder.path());
  EXPECT_EQ(made.outputs, 1);
  EXPECT_EQ(made.failed, 0);
  EXPECT_EQ(test::listing(folder.path()), (std::vector<std::string>{"cat.png", "index.html", "manifest.jsonl"}));
  const json job = data()["jobs"][0];
  EXPECT_EQ(job["prompt"], "a cat");
  EXPECT_EQ(job["seed"], 7);
  EXPECT_EQ(job["width"], 8);
  EXPECT_EQ(job["steps"], 4);
  EXPECT_EQ(job["seconds"], 2.0);
  EXPECT_EQ(job["kind"], "image");
  EXPECT_EQ(job["file"], "cat.png");
  EXPECT_EQ(job["thumb"].get<std::string>().rfind("/9j/", 0), 0u);  // a JPEG's first bytes, FF D8 FF
  EXPECT_EQ(job["command"], "tessera generate 'a cat' --width 8 --height 8 --frames 1 --steps 4 --seed 7 -o cat.png");
}

TEST_F(Gallery, ShowsThePicturesThatVideosBeginWith) {
  const std::string first = folder / "first.png", other = folder / "other.png";
  write_png(first, at::full({8, 8, 3}, 90, at::kByte));
  write_png(other, at::full({8, 8, 3}, 10, at::kByte));
  const std::string content = sha256(test::read_text(first));
  for (const std::string id : {"a", "b"}) {
    json entry = picture(id, "a cat");
    entry["recipe"]["image"] = {{"path", first}, {"sha256", content}};
    entry["recipe"]["last_image"] = {{"path", other}, {"sha256", "of another picture"}};
    record(entry);
  }
  for (const bool gone : {false, true}) {  // the second time it comes from the page
    SCOPED_TRACE(gone);
    if (gone) std::filesystem::remove(first);
    write_gallery(folder.path());
    const json page = data();
    ASSERT_EQ(page["inputs"].size(), 1u);
    EXPECT_EQ(page["inputs"][content].get<std::string>().rfind("/9j/", 0), 0u);
    for (const json& job : page["jobs"])
      EXPECT_EQ(job["inputs"], json::parse(R"([{"role": "begins with", "file": "first.png", "sha256": ")" + content +
                                           R"("}, {"role": "ends with", "file": "other.png"}])"));
  }
}

TEST_F(Gallery, NothingInAPromptBecomesMarkup) {
  const std::vector<std::string> prompts = {"<script>alert(1)</script>",
                                            "</script><!-- <img src=x onerror=alert(1)>",
                                            "\"quotes\" 'single' & &amp; \\ \\u003c",
                                            "مرحبا بالعالم 🎉 \u2028\u2029 <b>",
                                            std::string(2000, 'x'),
                                            "<!--data-->"};
  for (size_t i = 0; i < prompts.size(); ++i) record(picture("p" + std::to_string(i), prompts[i]));
  record({{"id", "<i>"}, {"status", "<u>"}, {"output", "x.png"}, {"error", "</script>"}, {"recipe", json::object()}});
  write_gallery(folder.path());
  const json jobs = data()["jobs"];
  ASSERT_EQ(jobs.size(), prompts.size() + 1);
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(jobs[i]["prompt"], prompts[i]);
  // Beside the template's own, no tag stands in the page.
  EXPECT_EQ(count_of(page(), "<"), count_of(gallery_html(), "<") - 1);  // the mark is gone
  EXPECT_EQ(count_of(page(), ">"), count_of(gallery_html(), ">") - 1);
}

TEST_F(Gallery, ThePageNeedsNoNetwork) {
  for (const char* part : {"http:", "https:", "//cdn", "url(", "@import", "src=\"", "<link rel=\"stylesheet",
                           "innerHTML", "fetch(", "XMLHttpRequest", "eval("})
    EXPECT_EQ(gallery_html().find(part), std::string_view::npos) << part;
}

TEST_F(Gallery, FailedAndMissingOutputsSaySo) {
  record({{"id", "a"}, {"status", "failed"}, {"output", "a.mp4"}, {"error", "disk full"}, {"latents", "latents/a"}});
  record(picture("gone", "x"));
  std::filesystem::remove(folder / "gone.png");
  record({{"id", "b"}, {"status", "bad_pixels"}, {"output", "b.mp4"}, {"error", "black"}});
  const GallerySummary made = write_gallery(folder.path());
  EXPECT_EQ(made.outputs, 3);
  EXPECT_EQ(made.failed, 3);
  const json jobs = data()["jobs"];
  EXPECT_EQ(jobs[0]["error"], "disk full");
  EXPECT_EQ(jobs[0]["latents"], "latents/a");
  EXPECT_FALSE(jobs[0].contains("file"));
  EXPECT_EQ(jobs[1]["status"], "missing");
  EXPECT_EQ(jobs[2]["status"], "bad_pixels");
}

TEST_F(Gallery, TheLastLineAboutAJobCountsAndTornOnesDoNot) {
  record({{"id", "a"}, {"status", "failed"}, {"output", "a.png"}, {"error", "x"}});
  record(picture("b", "b"));
  record(picture("a", "a"));
  std::ofstream(folder / "manifest.jsonl", std::ios::app) << "{\"id\": \"c\", \"stat";
  const GallerySummary made = write_gallery(folder.path());
  EXPECT_EQ(made.outputs, 2);
  EXPECT_EQ(made.unreadable, 1);
  EXPECT_EQ(data()["jobs"][0]["id"], "a");
  EXPECT_EQ(data()["jobs"][0]["status"], "done");
}

TEST_F(Gallery, RecordsOfSeveralProcessesAreReadToo) {
  const json first = picture("a", "a"), second = picture("b", "b");
  std::ofstream(folder / "manifest.rank1.jsonl") << first.dump() << "\n";
  EXPECT_EQ(write_gallery(folder.path()).outputs, 1);
  record(second);
  EXPECT_EQ(write_gallery(folder.path()).outputs, 2);
}

TEST_F(Gallery, ARecordThatPointsOutsideIsNotFollowed) {
  for (const char* output : {"../x.png", "/etc/passwd", "a/../../x.png", "a/..", ""}) {
    record({{"id", output}, {"status", "done"}, {"output", output}, {"sha256", ""}});
  }
  EXPECT_EQ(write_gallery(folder.path()).failed, 5);
  const json jobs = data()["jobs"];
  for (const json& job : jobs) EXPECT_FALSE(job.contains("file")) << job;
  // Values of the wrong type are ignored, not trusted.
  record({{"id", "t"}, {"status", "done"}, {"output", 5}});
  record({{"id", "t"},
          {"status", "failed"},
          {"output", "t.png"},
          {"recipe", {{"prompt", 5}, {"seed", "x"}}},
          {"seconds", 3}});
  EXPECT_EQ(write_gallery(folder.path()).unreadable, 1);
}

TEST_F(Gallery, VideosAnimationsAndFramesAreKnown) {
  OutputOptions options;
  options.width = options.height = 16;
  for (const std::string name : {"v.mp4", "g.GIF", "f/%04d.png"}) {
    const auto writer = open_frame_writer(folder / name, options);
    for (int i = 0; i < 3; ++i) writer->write(at::full({16, 16, 3}, 40 * i, at::kByte));
    writer->finish();
    record({{"id", name}, {"status", "done"}, {"output", name}, {"sha256", name}, {"recipe", {{"prompt", "x"}}}});
  }
  EXPECT_EQ(write_gallery(folder.path()).without_picture, 0);
  const json jobs = data()["jobs"];
  EXPECT_EQ(jobs[0]["kind"], "video");
  EXPECT_EQ(jobs[1]["kind"], "animation");
  EXPECT_EQ(jobs[2]["kind"], "frames");
  EXPECT_EQ(jobs[2]["command"], "tessera generate x -o f/%04d.png");
  for (const json& job : jobs) EXPECT_TRUE(job.contains("thumb")) << job;
  std::ofstream(folder / "v.mp4") << "not a video";
  std::filesystem::remove(folder / "index.html");
  EXPECT_EQ(write_gallery(folder.path()).without_picture, 1);
}

TEST_F(Gallery, AnEarlierPageLendsItsThumbnails) {
  record(picture("a", "a"));
  write_gallery(folder.path());
  const std::string first = page();
  std::ofstream(folder / "a.png") << "no picture any more, but the record has the same hash";
  EXPECT_EQ(write_gallery(folder.path()).without_picture, 0);
  EXPECT_EQ(page(), first);
}

TEST_F(Gallery, ThePageStaysBounded) {
  write_png(folder / "n.png", at::randint(0, 256, {130, 130, 3}, at::kByte));  // the worst that a JPEG may meet
  const std::string prompt(500, 'p');
  for (int i = 0; i < 300; ++i)
    record({{"id", std::to_string(i)},
            {"status", "done"},
            {"output", "n.png"},
            {"sha256", std::to_string(i)},
            {"recipe", {{"prompt", prompt}, {"seed", i}}}});
  write_gallery(folder.path());
  const json jobs = data()["jobs"];
  EXPECT_EQ(jobs.size(), 300u);
  for (const json& job : jobs) EXPECT_LE(job["thumb"].get<std::string>().size(), 16000u);
  EXPECT_LT(page().size(), gallery_html().size() + 300 * (16000 + 2 * prompt.size() + 500));
}

TEST_F(Gallery, AFolderWithoutARecordIsRefused) {
  try {
    write_gallery(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("output folder of tessera batch"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace tessera
