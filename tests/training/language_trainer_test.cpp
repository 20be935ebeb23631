#include "training/language_trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/json_config.h"
#include "tests/media/folder_test.h"
#include "tests/support/resume.h"
#include "training/flow_loss.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;

TEST(BitsPerByte, ByHand) {
  const at::Tensor bytes = at::tensor({7, 200}, at::kLong).view({1, 2});
  EXPECT_NEAR(bits_per_byte(at::zeros({1, 2, 256}), bytes), 8.0, 1e-5);
  at::Tensor sure = at::full({1, 2, 256}, -100.0);
  sure[0][0][7] = 0;  // certain of the first; the second: two bytes equally likely
  sure[0][1][200] = sure[0][1][201] = 0;
  EXPECT_NEAR(bits_per_byte(sure, bytes), 0.5, 1e-5);
}

TEST(LogitNormalTimes, ByHand) {
  EXPECT_NEAR(logit_normal_times(1, 0.5, 1.0)[0].item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(logit_normal_times(1, 0.5, 2.5)[0].item<double>(), 1.25 / 1.75, 1e-6);
  EXPECT_TRUE(noisy_times(2, 0.5).allclose(at::tensor({0.925F, 0.975F})));
  EXPECT_EQ(noisy_times(0, 0.5).numel(), 0);
  EXPECT_EQ(logit_normal_times(0, 0.5, 2.5).numel(), 0);
  const at::Tensor two = logit_normal_times(2, 0.5, 1.0);  // quartiles: normal -+0.67449
  EXPECT_NEAR(two[0].item<double>(), 0.337490, 1e-5);
  EXPECT_NEAR(two[1].item<double>(), 0.662510, 1e-5);
}

class TrainLanguage : public test::FolderTest {
 protected:
  void write_text(const std::string& name, size_t bytes) const {
    std::filesystem::create_directories((folder / name).parent_path());
    std::string text;
    while (text.size() < bytes) text += "the quick brown fox ";
    std::ofstream(folder / name) << text.substr(0, bytes);
  }
  nlohmann::json config(const std::string& run) const {
    return {{"run", (folder / run).string()},
            {"text", {(folder / "texts").string()}},
            {"output", (folder / "language").string()},
            {"steps", 10},
            {"learning_rate", 3e-2},
            {"warmup", 0.0},
            {"dtype", "fp32"},
            {"batch", 2},
            {"model",
             {{"heads", 2},
              {"head_dim", 4},
              {"layers", 1},
              {"hidden", 16},
              {"length", 16},
              {"attention", {{"kind", "mhla"}, {"chunk", 4}, {"gated", true}, {"kernel_size", 3}}}}}};
  }
  LanguageTrainConfig read(const nlohmann::json& json) const {
    std::ofstream(folder / "config.json") << json.dump();
    return LanguageTrainConfig::read(folder / "config.json");
  }
};

TEST_F(TrainLanguage, HoldsOutTheLastTenthOfEachFile) {
  std::filesystem::create_directories(folder / "texts/b");
  std::ofstream(folder / "texts/a.txt") << "0123456789ABCDEFGHIJ";
  std::ofstream(folder / "texts/b/c.txt") << "abcdefghij";
  const SplitText text = read_text({folder / "texts"}, 1);
  const auto words = [](const at::Tensor& bytes) {
    return std::string(static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel()));
  };
  EXPECT_EQ(words(text.training), "0123456789ABCDEFGHabcdefghi");
  EXPECT_EQ(words(text.held_out), "IJj");
  EXPECT_TRUE(contains(error_of([&] { read_text({folder / "texts"}, 4); }), "27 bytes to train on and 3 held out"));
  EXPECT_TRUE(contains(error_of([&] { read_text({folder / "absent.txt"}, 1); }), "absent.txt"));
}

TEST_F(TrainLanguage, BeginsAtEightBitsResumesExactlyAndLearns) {
  write_text("texts/a.txt", 1000);
  EXPECT_NEAR(LanguageTrainer(read(config("fresh"))).held_out_bits(), 8.0, 1e-5);
  std::vector<double> losses;
  test::expect_same_after_resume<LanguageTrainer>(read(config("a")), read(config("b")), losses);
  LanguageTrainer(read(config("b"))).train();
  const nlohmann::json scores = read_json_object(folder / "language/scores.json");
  EXPECT_LT(scores.at("bits_per_byte").get<double>(), 7.8);
  EXPECT_EQ(scores.at("bytes"), 96);  // six sequences of 16 in the hundred held-out bytes
  EXPECT_TRUE(std::filesystem::exists(folder / "language/config.json"));
}

TEST_F(TrainLanguage, ErrorsAreOneClearLine) {
  write_text("texts/a.txt", 100);
  const auto error_with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = config("bad");
    json[key] = value;
    return error_of([&] { LanguageTrainer{read(json)}; });
  };
  EXPECT_TRUE(contains(error_with("text", "a.txt"), "list of files and folders"));
  EXPECT_TRUE(contains(error_with("batch", 2), "90 bytes to train on and 10 held out; want 17"));
  EXPECT_TRUE(contains(error_with("batc", 2), "batch"));
  EXPECT_TRUE(contains(error_with("model", 3), "model"));
}

}  // namespace
}  // namespace tessera
