#pragma once

#include "tests/support/fixture.h"
#include "tests/support/torch_writer.h"
#include "weights/model_dir.h"
#include "weights/names.h"

namespace tessera::test {

/// Tensors under the reference's names: the table the other way round.
inline std::map<std::string, at::Tensor> as_published(const TensorFile& ours, const NameTable& table,
                                                      const std::string& prefix = "") {
  std::map<std::string, std::string> theirs;
  for (const auto& [name, our_name] : table) theirs[our_name] = name;
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : ours.tensors())
    tensors.emplace(prefix + (theirs.count(name) ? theirs.at(name) : name), tensor);
  return tensors;
}

/// The files in which Wan 2.1 and Wan-MHLA are published, of a pipeline directory's weights.
class WanRelease {
 public:
  explicit WanRelease(const std::filesystem::path& pipeline) : pipeline_(open_model_dir(pipeline)) {}

  /// config.json of WanModel.
  nlohmann::json config() const {
    const JsonConfig ours = pipeline_.component("transformer").config();
    return {{"_class_name", "WanModel"},
            {"model_type", "t2v"},
            {"dim", ours.integer("num_attention_heads") * ours.integer("attention_head_dim")},
            {"ffn_dim", ours.integer("ffn_dim")},
            {"freq_dim", ours.integer("freq_dim")},
            {"in_dim", ours.integer("in_channels")},
            {"out_dim", ours.integer("out_channels")},
            {"num_heads", ours.integer("num_attention_heads")},
            {"num_layers", ours.integer("num_layers")},
            {"text_len", 512},
            {"text_dim", ours.integer("text_dim")},
            {"eps", 1e-6}};
  }

  std::map<std::string, at::Tensor> transformer(const std::string& prefix = "") const {
    const TensorFile ours = read_weights(pipeline_.component("transformer"));
    return as_published(ours, wan_transformer_names(count_numbered(ours, "blocks.")), prefix);
  }

  /// The transformer with gated MHLA over 2x2x2 blocks in its first layer.
  std::map<std::string, at::Tensor> hybrid() const {
    const JsonConfig ours = pipeline_.component("transformer").config();
    const int64_t head = ours.integer("attention_head_dim"), width = head * ours.integer("num_attention_heads");
    const auto random = at::make_generator<at::CPUGeneratorImpl>(11);
    std::map<std::string, at::Tensor> tensors = transformer();
    const std::string layer = "blocks.0.self_attn.";
    tensors[layer + "block_attn.conv.weight"] = at::rand({8, 8, 1, 1}, random);
    tensors[layer + "g_norm.weight"] = at::rand({head}, random) + 0.5;
    tensors[layer + "g.weight"] = at::randn({width, width}, random) * 0.2;
    tensors[layer + "g.bias"] = at::randn({width}, random) * 0.1;
    return tensors;
  }

  /// The autoencoder, the text encoder (in bfloat16, as published) and its tokenizer, as archives of torch.save.
  void write_parts(const std::filesystem::path& into) const {
    std::filesystem::create_directories(into / "google/umt5-xxl");
    std::filesystem::copy_file(pipeline_.component("tokenizer").file("spiece.model"),
                               into / "google/umt5-xxl/spiece.model");
    const Component& vae = pipeline_.component("vae");
    const auto levels = static_cast<int64_t>(vae.config().integers("dim_mult").size());
    write_torch_archive(into / "Wan2.1_VAE.pth",
                        as_published(read_weights(vae), wan_vae_names(levels, vae.config().integer("num_res_blocks"))));
    const TensorFile text = read_weights(pipeline_.component("text_encoder"));
    auto tensors = as_published(text, wan_text_encoder_names(count_numbered(text, "encoder.block.")));
    for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
    write_torch_archive(into / "models_t5_umt5-xxl-enc-bf16.pth", tensors);
  }

  /// The whole folder of Wan 2.1's release.
  void write(const std::filesystem::path& into) const {
    write_parts(into);
    std::ofstream(into / "config.json") << config();
    write_safetensors(into / "diffusion_pytorch_model.safetensors", transformer());
  }

  /// A checkout of DAGroup-PKU's project: configs, pretrained_models and the checkpoint, whose path is returned.
  std::filesystem::path write_mhla_project(const std::filesystem::path& into) const {
    write_parts(into / "pretrained_models/Wan2.1-T2V-1.3B");
    std::filesystem::create_directories(into / "configs");
    std::ofstream(into / "configs/hybrid.yaml")
        << "model:\n  self_attn_type: mhla_uni\n  linear_attn_idx: [0]\n  block_layout: [2, 2, 2]\n"
           "  norm_output: true\n  video_width: 160\n  video_height: 96\n  num_frames: 9\n"
           "text_encoder:\n  text_len: 12\nscheduler:\n  flow_shift: 3.5\n";
    const std::filesystem::path checkpoint = into / "weights/epoch_1_step_500.pth";
    std::filesystem::create_directories(checkpoint.parent_path());
    write_torch_archive(checkpoint, hybrid(), "state_dict");
    return checkpoint;
  }

 private:
  ModelDir pipeline_;
};

}  // namespace tessera::test
