#include "samplers/presets.h"

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "samplers/names.h"

namespace tessera {

// clang-format off
const std::vector<SamplingPreset>& sampling_presets() {
  // docs/few-steps.md tells these sources with their revisions, and how the timesteps of rcm follow from its angles.
  static const std::vector<SamplingPreset> table = {
      {"lightx2v", {"distilled-4", "4-step"}, "lcm", {}, {1, 0.75, 0.5, 0.25}, {}, 5, 1,
       "LightX2V's step and guidance distillation of Wan 2.1, LoRA or model: 4 steps",
       "ModelTC/LightX2V configs/distill/wan21/wan_t2v_distill_lora_4step_cfg.json"},
      {"lightx2v-8", {"distilled-8", "8-step"}, "lcm", {},
       {1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125}, {}, 5, 1,
       "the same models in twice the steps: slower, steadier motion", "lightx2v with every interval halved"},
      {"causvid", {}, "lcm", {}, {}, {1000, 757, 522}, {}, 1,
       "CausVid's bidirectional Wan 2.1 1.3B: 3 steps",
       "tianweiy/CausVid configs/wan_bidirectional_dmd_from_scratch.yaml"},
      {"fastwan", {"fastvideo", "dmd"}, "lcm", {}, {}, {1000, 757, 522}, {}, 1,
       "FastWan 2.1 by DMD, checkpoints with full attention: 3 steps",
       "hao-ai-lab/FastVideo fastvideo/configs/pipelines/wan.py"},
      {"rcm", {}, "lcm", {}, {}, {987.654, 933.781, 852.895, 608.979}, {}, 1,
       "NVIDIA's rCM of Wan 2.1: 4 steps",
       "NVlabs/rcm rcm/inference/wan2pt1_t2v_rcm_infer.py"},
      {"accvideo", {"accvid"}, "unipc", 10, {}, {}, 5, 1,
       "AccVideo's Wan 2.1 14B: 10 steps", "aejion/AccVideo README.md, sample_wanx_t2v.py"},
  };
  return table;
}
// clang-format on

const SamplingPreset& find_preset(const std::string& name) {
  const std::string wanted = comparable_name(name);
  std::vector<std::string> names;
  for (const auto& preset : sampling_presets()) {
    if (wanted == comparable_name(preset.name)) return preset;
    for (const auto& alias : preset.aliases)
      if (wanted == comparable_name(alias)) return preset;
    names.push_back(preset.name);
  }
  throw Error("no preset is called \"" + shortened(name, 60) + "\"" + suggestion(name, names));
}

int64_t preset_steps(const SamplingPreset& preset) {
  return preset.steps.value_or(static_cast<int64_t>(std::max(preset.sigmas.size(), preset.timesteps.size())));
}

}  // namespace tessera
