// Configs that lie: whatever number a config holds, reading it and listing the network's parameters takes little memory
// and time, and what is refused is refused by the name of its key.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/json_config.h"
#include "models/dit/dit.h"
#include "models/kl/autoencoder_kl.h"
#include "models/umt5/umt5.h"
#include "models/wan/transformer.h"
#include "models/wan/vae.h"
#include "samplers/config.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

using nlohmann::json;

template <class Network, class Config>
void read_network(const json& config) {
  Network network(Config::from_json({config, "part/config.json"}));
  ParamList params;
  network.params(params);
  EXPECT_GT(params.count(), 0);
}

void read_scheduler(const json& config) {
  read_scheduler_config({config, "part/config.json"});
}

struct ConfigCase {
  const char* name;
  void (*read)(const json&);
  json sound;
  std::vector<const char*> sizes;  ///< keys of a number
  std::vector<const char*> lists;  ///< keys of a list of numbers
};

std::vector<ConfigCase> cases() {
  return {
      {"WanTransformer",
       read_network<WanTransformer, WanTransformerConfig>,
       {{"num_layers", 2}, {"num_attention_heads", 2}, {"attention_head_dim", 8}, {"ffn_dim", 16}},
       {"num_layers", "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "text_dim",
        "freq_dim", "ffn_dim"},
       {"patch_size", "position_embedding"}},
      {"WanVae",
       read_network<WanVae, WanVaeConfig>,
       {{"base_dim", 4}, {"z_dim", 4}},
       {"base_dim", "decoder_base_dim", "z_dim", "num_res_blocks", "in_channels", "out_channels", "patch_size"},
       {"dim_mult", "attn_scales", "latents_mean"}},
      {"Umt5Encoder",
       read_network<Umt5Encoder, Umt5Config>,
       {{"vocab_size", 9}, {"d_model", 8}, {"d_kv", 4}, {"d_ff", 16}, {"num_layers", 2}, {"num_heads", 2}},
       {"vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets",
        "relative_attention_max_distance"},
       {}},
      {"Dit",
       read_network<Dit, DitConfig>,
       {{"num_layers", 2}, {"num_attention_heads", 2}, {"attention_head_dim", 8}},
       {"num_layers", "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "sample_size",
        "patch_size", "num_embeds_ada_norm", "mlp_ratio"},
       {}},
      {"AutoencoderKl",
       read_network<AutoencoderKl, AutoencoderKlConfig>,
       {{"block_out_channels", {8, 8}}, {"norm_num_groups", 4}},
       {"in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups"},
       {"block_out_channels"}},
      {"Scheduler", read_scheduler, {{"_class_name", "DDIMScheduler"}}, {"num_train_timesteps"}, {"trained_betas"}},
  };
}

int64_t peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

/// The refusal, which must be cheap; "accepted" for a config that is taken.
std::string refusal(const ConfigCase& one, const json& config) {
  const int64_t before = peak_megabytes();
  const auto start = std::chrono::steady_clock::now();
  const std::string said = test::refusal_of([&] { one.read(config); });
  EXPECT_LT(peak_megabytes() - before, 400) << config;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << config;
  return said;
}

TEST(HostileConfig, TheSoundOnesAreRead) {
  for (const ConfigCase& one : cases()) EXPECT_EQ(refusal(one, one.sound), "accepted") << one.name;
}

TEST(HostileConfig, ImpossibleNumbersAreRefusedByKey) {
  const json numbers = {0, -1, 100'000'000, 1e15, int64_t{1} << 40, INT64_MAX, UINT64_MAX, 1e300, "many", nullptr};
  for (const ConfigCase& one : cases())
    for (const char* key : one.sizes)
      for (const json& number : numbers) {
        SCOPED_TRACE(std::string(one.name) + ": " + key + " " + number.dump());
        json config = one.sound;
        config[key] = number;
        const std::string said = refusal(one, config);
        if (number.is_null()) continue;  // the default, where there is one
        EXPECT_NE(said.find("part/config.json: \"" + std::string(key) + "\""), std::string::npos) << said;
      }
}

TEST(HostileConfig, NumbersAtTheirLimitsCostLittle) {
  for (const ConfigCase& one : cases())
    for (const char* key : one.sizes)
      for (int64_t number = 1; number <= int64_t{1} << 24; number *= 4) {
        json config = one.sound;
        config[key] = number;
        refusal(one, config);
      }
}

TEST(HostileConfig, ListsAreBoundedToo) {
  for (const ConfigCase& one : cases())
    for (const char* key : one.lists)
      for (const json& list :
           {json::array(), json(std::vector<int64_t>(3, int64_t{1} << 40)), json(std::vector<int64_t>(3, 65'536)),
            json(std::vector<int64_t>(100'000, 1)), json(7)}) {
        SCOPED_TRACE(std::string(one.name) + ": " + key + " of " + std::to_string(list.size()));
        json config = one.sound;
        config[key] = list;
        refusal(one, config);
      }
}

TEST(HostileConfig, AttentionOfManyBlocksAndLayers) {
  const ConfigCase one = cases().front();
  const auto with = [&](const json& attention) {
    json config = one.sound;
    config["attention"] = attention;
    return refusal(one, config);
  };
  EXPECT_EQ(with({{"kind", "mhla"}, {"block_layout", {4, 4, 4}}}), "accepted");
  EXPECT_NE(with({{"kind", "mhla"}, {"block_layout", {1000, 1000, 1000}}}).find("at most 16384 blocks"),
            std::string::npos);
  EXPECT_NE(with({{"kind", "mhla"}, {"block_layout", {1, 1, int64_t{1} << 40}}}).find("\"block_layout\""),
            std::string::npos);
  EXPECT_NE(with({{"kind", "focused"}, {"kernel_size", 1'000'001}}).find("\"kernel_size\""), std::string::npos);
  EXPECT_NE(with({{"kind", "linear"}, {"softmax_layers", std::vector<int64_t>(100'000, 1)}}).find("\"softmax_layers\""),
            std::string::npos);
}

}  // namespace
}  // namespace tessera
