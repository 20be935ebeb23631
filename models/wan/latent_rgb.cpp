#include "models/wan/latent_rgb.h"

#include <ATen/ATen.h>

namespace tessera {
namespace {

// Published numbers: ComfyUI, comfy/latent_formats.py, class Wan21.
const LatentRgb kWan21{{{-0.1299, -0.1692, 0.2932},
                        {0.0671, 0.0406, 0.0442},
                        {0.3568, 0.2548, 0.1747},
                        {0.0372, 0.2344, 0.1420},
                        {0.0313, 0.0189, -0.0328},
                        {0.0296, -0.0956, -0.0665},
                        {-0.3477, -0.4059, -0.2925},
                        {0.0166, 0.1902, 0.1975},
                        {-0.0412, 0.0267, -0.1364},
                        {-0.1293, 0.0740, 0.1636},
                        {0.0680, 0.3019, 0.1128},
                        {0.0032, 0.0581, 0.0639},
                        {-0.1251, 0.0927, 0.1699},
                        {0.0060, -0.0633, 0.0005},
                        {0.3477, 0.2275, 0.2950},
                        {0.1984, 0.0913, 0.1861}},
                       {-0.1835, -0.0868, -0.3360}};

std::array<double, 3> color(const nlohmann::json& row, const JsonConfig& json, const std::string& key,
                            const std::string& problem) {
  if (!row.is_array() || row.size() != 3) json.fail(key, problem);
  std::array<double, 3> out{};
  for (size_t i = 0; i < 3; ++i) {
    if (!row[i].is_number()) json.fail(key, problem);
    out[i] = row[i].get<double>();
  }
  return out;
}

}  // namespace

at::Tensor LatentRgb::operator()(const at::Tensor& latents) const {
  const auto channels = static_cast<int64_t>(factors.size());
  TORCH_CHECK(channels > 0 && latents.dim() >= 2 && latents.size(1) == channels, "LatentRgb: want [B, ", channels,
              ", ...], got ", latents.sizes());
  const auto as = latents.options().dtype(at::kFloat);
  std::vector<double> flat;
  for (const auto& row : factors) flat.insert(flat.end(), row.begin(), row.end());
  const at::Tensor weights = at::tensor(flat, at::kFloat).to(as.device()).view({channels, 3});
  const at::Tensor offset = at::tensor(std::vector<double>(bias.begin(), bias.end()), at::kFloat).to(as.device());
  const at::Tensor rgb = latents.to(at::kFloat).movedim(1, -1).matmul(weights) + offset;  // [B, ..., 3]
  return ((rgb + 1) / 2).clamp(0, 1).movedim(-1, 1);
}

LatentRgb read_latent_rgb(const JsonConfig& json, int64_t channels, bool wan21) {
  const std::string key = "latent_rgb_factors", bias_key = key + "_bias";
  LatentRgb out;
  if (!json.has(key)) {
    if (json.has(bias_key)) json.fail(bias_key, "has no " + key + " beside it");
    return wan21 ? kWan21 : out;
  }
  const nlohmann::json& rows = json.json().at(key);
  const std::string problem =
      "must hold z_dim = " + std::to_string(channels) + " rows of three numbers, red, green and blue";
  if (!rows.is_array() || static_cast<int64_t>(rows.size()) != channels) json.fail(key, problem);
  for (const nlohmann::json& row : rows) out.factors.push_back(color(row, json, key, problem));
  if (json.has(bias_key)) out.bias = color(json.json().at(bias_key), json, bias_key, "must hold three numbers");
  return out;
}

}  // namespace tessera
