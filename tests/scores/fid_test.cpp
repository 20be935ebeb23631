// tessera fid as a program: scores of files equal to the tools', statistics there and back, and what it refuses.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "media/image_io.h"
#include "tests/support/fixture.h"
#include "tests/support/inception_weights.h"
#include "tests/support/json_keys.h"
#include "tests/support/process.h"
#include "weights/npz.h"

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
}

TEST_F(FidCommand, TheBundledNetworkGivesADistanceThatIsNotCalledFid) {
  const auto distance = [](const std::string& a, const std::string& b) {
    const auto result = tessera({"fid", a, b, "--quiet", "--extractor", "bundled"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.out.rfind("Frechet distance (not FID", 0), 0u) << result.out;
    return std::stod(result.out.substr(result.out.find(") ") + 2));
  };
  EXPECT_GT(distance(set("set_a"), set("set_b")), 1e-3);
  EXPECT_NEAR(distance(set("set_a"), set("set_a")), 0, 1e-4);
  const auto result = tessera({"fid", set("set_a"), set("set_b"), "--quiet", "--extractor", "bundled"},
                              {"TESSERA_MODEL=" + (*folder / "other").string()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("no bundled feature network: there is no folder " + (*folder / "other").string()),
            std::string::npos)
      << result.err;
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

/// Files of arrays, with a small network that this runs in Inception's place.
struct FidOfArrays : testing::Test {
  FidOfArrays() {
    at::manual_seed(5);
    pictures = at::randint(256, {12, 16, 16, 3}, at::kByte);
    std::filesystem::create_directories(folder / "a");
    for (int64_t i = 0; i < 12; ++i) write_png(folder / "a" / (std::to_string(10 + i) + ".png"), pictures[11 - i]);
    write("adm.npz", {{"arr_0", pictures}, {"mu", at::arange(6, at::kDouble)}, {"sigma", at::eye(6, at::kDouble)}});
  }
  std::string write(const std::string& name, const std::map<std::string, at::Tensor>& arrays) {
    write_npz(folder / name, arrays);
    return (folder / name).string();
  }
  test::ProcessResult fid(const std::vector<std::string>& rest) {
    std::vector<std::string> all{"fid", (folder / "a").string()};
    all.insert(all.end(), rest.begin(), rest.end());
    all.insert(all.end(),
               {"--extractor", std::string(TESSERA_SOURCE_DIR) + "/tests/data/torchscript/means.pt", "--quiet"});
    return tessera(all);
  }

  test::TemporaryFolder folder;
  at::Tensor pictures;
};

TEST_F(FidOfArrays, AReferenceOfAdmSaysWhatWasUsed) {
  const std::string adm = (folder / "adm.npz").string();
  const auto json = fid({adm, "--metrics", "fid,kid", "--json"});
  ASSERT_EQ(json.exit_code, 0) << json.err;
  const nlohmann::json out = nlohmann::json::parse(json.out);
  EXPECT_EQ(out.at("reference").at("statistics_from"), "mu, sigma");
  EXPECT_EQ(out.at("reference").at("features_from"), "pictures in arr_0");
  EXPECT_TRUE(out.at("reference").at("statistics_file").get<bool>());
  EXPECT_EQ(out.at("generated").at("statistics_from"), "pictures");
  EXPECT_GT(out.at("fid").get<double>(), 1000) << "of the statistics: the pictures are those of the first set";
  EXPECT_LT(out.at("kid").at("mean").get<double>(), 0) << "of the pictures";
  EXPECT_EQ(out.at("extractor").at("size"), 299);
  const auto text = fid({adm, "--metrics", "fid,kid"});
  EXPECT_NE(text.out.find("(statistics: mu, sigma; other scores: pictures in arr_0)"), std::string::npos) << text.out;
  const auto alone = fid({adm});
  EXPECT_NE(alone.out.find("unknown number of images (statistics: mu, sigma)"), std::string::npos) << alone.out;
}

TEST_F(FidOfArrays, PicturesOfEveryFormAreTheSameSet) {
  const at::Tensor scaled = pictures.to(at::kFloat) / 127.5 - 1;
  const std::string floats = write("floats.npz", {{"images", scaled.permute({0, 3, 1, 2})}});
  const auto distance = [&](const std::vector<std::string>& rest) {
    std::vector<std::string> all = rest;
    all.push_back("--json");
    const auto result = fid(all);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? nlohmann::json::parse(result.out).at("fid").get<double>() : -1;
  };
  EXPECT_LT(distance({floats, "--array-range", "-1..1"}), 1e-6);
  EXPECT_LT(distance({floats, "--array-range=-1..1", "--array-layout", "nchw"}), 1e-6);
  EXPECT_LT(distance({write("samples.npz", {{"samples", pictures}})}), 1e-6);
  EXPECT_GT(distance({floats, "--array-range", "-1..1", "--extractor-size", "8"}), -1);
  const auto unsaid = fid({floats});
  EXPECT_EQ(unsaid.exit_code, 2);
  EXPECT_NE(unsaid.err.find("--array-range"), std::string::npos) << unsaid.err;
  const auto wrong = fid({floats, "--array-range", "0..2"});
  EXPECT_EQ(wrong.exit_code, 2);
}

TEST_F(FidOfArrays, KeptFilesAreNamedAndSetsOfLaterRuns) {
  const std::string statistics = (folder / "s.npz").string(), features = (folder / "f.npz").string();
  const auto kept = fid({"--save-stats", statistics, "--dump-features", features, "--extractor-size", "32"});
  ASSERT_EQ(kept.exit_code, 0) << kept.err;
  EXPECT_EQ(kept.out, statistics + "\n" + features + "\n");
  for (const std::string& file : {statistics, features}) {
    const auto again = fid({file, "--json", "--extractor-size", "32"});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    const nlohmann::json out = nlohmann::json::parse(again.out);
    EXPECT_LT(out.at("fid").get<double>(), 1e-6);
    EXPECT_EQ(out.at("resize"), "bilinear 32x32, centers aligned, no antialiasing (torch)");
    EXPECT_EQ(out.at("extractor").at("size"), 32);
    const auto other = fid({file});
    EXPECT_EQ(other.exit_code, 2);
    EXPECT_NE(other.err.find("extractor-size 32, this run uses 299"), std::string::npos) << other.err;
  }
  const auto text = fid({features, "--extractor-size", "32", "--metrics", "prdc"});
  EXPECT_NE(text.out.find("12 images (features in feats)"), std::string::npos) << text.out << text.err;
}

TEST_F(FidOfArrays, NamesNeedNotBeUtf8) {
  std::filesystem::create_directories(folder / "b\xff");
  for (int i = 0; i < 2; ++i) write_png(folder / "b\xff" / (std::to_string(i) + "\xff.png"), pictures[i]);
  std::ofstream(folder / "b\xff" / "no\xff.png") << "no picture";
  const auto result = fid({(folder / "b\xff").string(), "--json", "--skip-unreadable", "--dump-reference-features",
                           (folder / "f.npz").string()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out).at("reference").at("unreadable").size(), 1u);
}

TEST_F(FidOfArrays, EveryKeyOfTheJsonIsInTheDocs) {
  const auto result =
      fid({(folder / "a").string(), "--metrics", "fid,kid,prdc", "--bootstrap", "2", "--fid-infinity", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(test::keys_absent_from_docs(result.out), std::set<std::string>());
}

}  // namespace
}  // namespace tessera
