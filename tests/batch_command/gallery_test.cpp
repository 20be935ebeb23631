#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using nlohmann::json;
using test::ProcessResult;

class GalleryCommand : public testing::Test {
 protected:
  ProcessResult batch(const std::string& prompts, const std::vector<std::string>& more = {}) {
    std::ofstream(folder / "p.json") << prompts;
    std::vector<std::string> all = {"batch",
                                    folder / "p.json",
                                    "-o",
                                    folder / "out",
                                    "-q",
                                    "--size",
                                    "32x32",
                                    "--steps",
                                    "1",
                                    "--dtype",
                                    "fp32",
                                    "--max-sequence-length",
                                    "16",
                                    "--frames",
                                    "1",
                                    "--model",
                                    test::fixture_folder() / "wan_pipeline" / "pipeline"};
    all.insert(all.end(), more.begin(), more.end());
    return test::tessera(all);
  }

  json jobs() {
    const std::string html = test::read_text(folder / "out" / "index.html"), start = "id=\"data\">";
    const size_t from = html.find(start) + start.size();
    return json::parse(html.substr(from, html.find("</script>", from) - from)).at("jobs");
  }

  test::TemporaryFolder folder;
};

TEST_F(GalleryCommand, ABatchEndsWithItsPage) {
  std::filesystem::create_directories(folder / "out" / "bad.mp4");  // a folder where a file should go
  const ProcessResult result = batch(
      R"([{"id": "a", "prompt": "it's </script> a cat"}, {"id": "bad", "prompt": "b", "frames": 5}])", {"--overwrite"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  const json made = jobs();
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(made[0]["prompt"], "it's </script> a cat");
  EXPECT_TRUE(made[0].contains("thumb"));
  EXPECT_EQ(made[1]["status"], "failed");
  EXPECT_NE(made[1]["error"].get<std::string>().find("it is a folder"), std::string::npos);
  const std::string page = test::read_text(folder / "out" / "index.html");
  const ProcessResult again = test::tessera({"gallery", folder / "out"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.out, (folder / "out" / "index.html").string() + "\n");
  EXPECT_EQ(test::read_text(folder / "out" / "index.html"), page);
}

TEST_F(GalleryCommand, TheCopiedCommandMakesTheSameBytes) {
  const ProcessResult result = batch(
      R"([{"id": "a", "prompt": "it's $HOME `x` \"a\" \\ cat\n🎉", "seed": 3, "cfg_scale": 4.5, "negative_prompt": "-rain",
           "apg_momentum": -0.5}])");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::ofstream(folder / "again.sh") << "cd " << folder.path() << "\ntessera() { "
                                     << std::filesystem::path(TESSERA_BINARY) << " \"$@\"; }\n"
                                     << jobs()[0]["command"].get<std::string>() << " -q\n";
  const ProcessResult again = test::Process({"/bin/bash", folder / "again.sh"}).wait();
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(test::read_text(folder / "a.png"), test::read_text(folder / "out" / "a.png"));
}

TEST_F(GalleryCommand, ItIsLeftOutOnRequestAndNotNeeded) {
  ASSERT_EQ(batch(R"(["a"])", {"--no-gallery"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "out" / "index.html"));
  std::filesystem::create_directory(folder / "out" / "index.html");
  const ProcessResult result = batch(R"(["a"])", {"--resume"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("no gallery: "), std::string::npos) << result.err;
  const ProcessResult none = test::tessera({"gallery", folder.path()});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.err.find("output folder of tessera batch"), std::string::npos) << none.err;
}

}  // namespace
}  // namespace tessera
