// tessera fid as a program: scores of files equal to the tools', statistics there and back, and what it refuses.
#include <gtest/gtest.h>

#include <fstream>

#include "media/image_io.h"
#include "tests/support/fixture.h"
#include "tests/support/inception_weights.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::tessera;

const std::filesystem::path kFolder = std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "protocols";

struct FidCommand : testing::Test {
  static void SetUpTestSuite() {
    folder = new test::TemporaryFolder;
    write_safetensors(*folder / "fid_inception.safetensors", test::formula_weights(12345));
  }
  static void TearDownTestSuite() { delete folder; }

  static std::vector<std::string> command(const std::vector<std::string>& rest) {
    std::vector<std::string> all{"fid"};
    all.insert(all.end(), rest.begin(), rest.end());
    all.insert(all.end(), {"--weights", (*folder / "fid_inception.safetensors").string()});
    return all;
  }

  static std::string set(const char* name) { return (kFolder / name).string(); }

  static test::TemporaryFolder* folder;
};
test::TemporaryFolder* FidCommand::folder = nullptr;

TEST_F(FidCommand, ScoresEqualPytorchFidsAndSayHowTheyWereMade) {
  const nlohmann::json config = read_json_object(kFolder / "config.json");
  const double expected = config.at("fid").at("pytorch-fid");
  const auto exact = tessera(command({set("set_a"), set("set_b"), "--dtype", "fp32", "--json", "--metrics",
                                      "fid,kid,is,prdc", "--save-stats", (*folder / "b.npz").string()}));
  ASSERT_EQ(exact.exit_code, 0) << exact.err;
  const nlohmann::json out = nlohmann::json::parse(exact.out);
  EXPECT_NEAR(out.at("fid").get<double>(), expected, 1e-3 * expected);
  EXPECT_EQ(out.at("protocol"), "pytorch-fid");
  EXPECT_EQ(out.at("generated").at("images"), 14);
  EXPECT_EQ(out.at("extractor").at("dtype"), "float32");
  EXPECT_EQ(out.at("extractor").at("sha256").get<std::string>().size(), 64u);
  EXPECT_EQ(out.at("kid").at("subset_size"), 14);
  EXPECT_FALSE(out.at("is_fid").get<bool>());  // drawn weights
  EXPECT_NE(exact.err.find("fewer than features"), std::string::npos);

  const auto again = tessera(command({set("set_a"), (*folder / "b.npz").string(), "--json"}));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  const nlohmann::json from_file = nlohmann::json::parse(again.out);
  EXPECT_EQ(from_file.at("extractor").at("dtype"), "float32");  // as the statistics were made
  EXPECT_NEAR(from_file.at("fid").get<double>(), out.at("fid").get<double>(), 1e-6 * expected);

  const auto other = tessera(command({set("set_a"), (*folder / "b.npz").string(), "--protocol", "clean"}));
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.err.find("pytorch-fid"), std::string::npos) << other.err;
  const auto narrow = tessera(command({set("set_a"), (*folder / "b.npz").string(), "--dims", "64"}));
  EXPECT_EQ(narrow.exit_code, 2) << narrow.out;
}

TEST_F(FidCommand, TheFastModeIsWithinHalfAPercent) {
  // At 192 features; parity.inception looks at 2048, which take longer.
  const std::vector<std::string> sets{set("set_a"), set("set_b"), "--dims", "192", "--json", "--dtype"};
  const auto run = [&](const std::string& dtype) {
    std::vector<std::string> arguments = sets;
    arguments.push_back(dtype);
    return tessera(command(arguments));
  };
  const auto exact = run("fp32"), fast = run("bf16");
  ASSERT_EQ(exact.exit_code + fast.exit_code, 0) << exact.err << fast.err;
  const double wanted = nlohmann::json::parse(exact.out).at("fid"), found = nlohmann::json::parse(fast.out).at("fid");
  EXPECT_NE(found, wanted);
  EXPECT_NEAR(found, wanted, 5e-3 * wanted);
}

TEST_F(FidCommand, BadInputIsOneLineAndExitCode2) {
  const test::TemporaryFolder bad;
  std::filesystem::create_directories(bad / "empty");
  std::filesystem::create_directories(bad / "broken");
  std::filesystem::create_directories(bad / "one");
  std::ofstream(bad / "stats.npz") << "not a zip";
  std::ofstream(bad / "broken/x.jpg") << "not a picture";
  write_png(bad / "one/x.png", at::zeros({3, 8, 8}));
  const std::string b = set("set_b");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{(bad / "empty").string(), b}, "no picture or video"},
      {{(bad / "absent").string(), b}, "there is no folder or file"},
      {{(bad / "stats.npz").string(), b}, "stats.npz"},
      {{(bad / "broken").string(), b, "--dtype", "fp32"}, "1 of 1 files cannot be read"},
      {{(bad / "broken").string(), b, "--skip-unreadable", "--dtype", "fp32"}, "none of 1 files"},
      {{(bad / "one").string(), b, "--dims", "64", "--dtype", "fp32"}, "one picture"},
      {{b, b, "--dims", "100"}, "64, 192, 768 or 2048"},
      {{b, b, "--protocol", "pytorch_fid"}, "did you mean"},
      {{b, b, "--metrics", "fid,kdi"}, "kid"},
      {{b}, "--save-stats"},
      {{b, b, "--extractor", "x.pt"}, "cannot go together"},
  };
  const auto refused = [](const std::vector<std::string>& arguments, const std::string& words) {
    const auto result = tessera(arguments);
    EXPECT_EQ(result.exit_code, 2) << words << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  };
  for (const auto& [arguments, words] : cases) refused(command(arguments), words);
  const std::string absent = (bad / "absent.pt").string();
  refused({"fid", b, b, "--quiet", "--extractor", absent}, "no file " + absent);
  refused({"fid", b, b, "--quiet", "--extractor", "bundled"}, "no bundled feature network");
}

TEST_F(FidCommand, AbsentWeightsAreNamedWithTheirHashAndPlace) {
  const test::TemporaryFolder empty;
  const auto result =
      tessera({"fid", set("set_a"), set("set_b"), "--quiet"},
              {"TESSERA_CACHE=" + (empty / "cache").string(), "TORCH_HOME=" + (empty / "torch").string()});
  EXPECT_EQ(result.exit_code, 2);
  for (const std::string words : {"pt_inception-2015-12-05-6726825d.pth", "6726825d0af5f729", "--weights",
                                  "cache/weights", "hub/checkpoints", "mseitzer/pytorch-fid"})
    EXPECT_NE(result.err.find(words), std::string::npos) << words << " in " << result.err;
}

}  // namespace
}  // namespace tessera
