#include "checkpoints/model_info.h"

#include <cstdio>

#include "checkpoints/component.h"
#include "checkpoints/hub_cache.h"
#include "core/device.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "kernels/packed.h"
#include "models/attention/attention.h"
#include "weights/names.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// Everything in a part's own folder; the weights alone of a part that shares its folder with others.
int64_t bytes_of(const Component& component) {
  int64_t bytes = 0;
  std::error_code problem;
  const auto add = [&](const fs::path& path) {
    if (is_file(path)) bytes += static_cast<int64_t>(fs::file_size(path, problem));
  };
  if (component.settings && is_network(component)) {
    for (const fs::path& path : weight_files(component)) add(path);
  } else if (!component.settings) {
    for (auto entry = fs::directory_iterator(component.folder, problem); !problem && entry != fs::directory_iterator();
         entry.increment(problem))
      add(entry->path());
  }
  return bytes;
}

/// A line on what is dropped from the names of a part's tensors; none when nothing is.
void note_wrappers(const Component& component, const TensorFile& file, std::vector<std::string>& notes) {
  const std::vector<std::string> wrappers = wrappers_of(file);
  if (!wrappers.empty())
    notes.push_back("the tensor names of " + component.name + " are read without " + joined(wrappers, ", ") +
                    ", which training code added");
}

PartInfo read_info_of(const Component& component, Families families, std::vector<std::string>& notes) {
  PartInfo part{.name = component.name, .class_name = component.class_name};
  const bool whole = missing_files(component).empty();
  if (whole || !component.settings) part.bytes = bytes_of(component);
  if (!is_network(component) || !whole) return part;
  try {
    const TensorFile file = read_weights(component);
    for (const auto& [name, tensor] : file.tensors()) {
      part.parameters += tensor.numel();
      part.dtypes[number_format(tensor)] += tensor.numel();
    }
    note_wrappers(component, file, notes);
    part.problem = weight_problem(component, families);
  } catch (const Error& e) {
    part.problem = e.what();
  }
  return part;
}

std::string extent_text(const Extent3& extent) {
  return c10::str(extent[0], "x", extent[1], "x", extent[2]);
}

std::string mhla_text(const AttentionConfig& config) {
  const auto [frames, rows, columns] = config.block_layout;
  return c10::str("block layout ", extent_text(config.block_layout), " (", counted(frames * rows * columns, "block"),
                  config.block_tokens ? " of " + extent_text(*config.block_tokens) + " tokens" : "", "), normalizer ",
                  name_of(config.normalizer), config.gated ? ", gated" : "", config.lepe ? ", LePE" : "");
}

void describe_denoiser(const Component& part, Families families, ModelInfo& info) {
  try {
    if (const Denoiser* denoiser = find_denoiser(part.class_name, families)) denoiser->describe(part, info);
  } catch (const Error& e) {
    if (info.obstacle.empty()) info.obstacle = e.what();
  }
}

/// The layout with whatever of it is there, nullopt for a file that is no model.
std::optional<RecognizedModel> find_model(const fs::path& path, Families families, const ModelOptions& options) {
  if (is_file(path)) {
    if (path.extension() == ".npz") return std::nullopt;
    for (const Family& family : families)
      if (auto layout = family.recognize(path, options)) return RecognizedModel{*std::move(layout), &family};
    if (auto component = recognize_component(path)) return RecognizedModel{*std::move(component), nullptr};
    refuse_foreign_file(path);
    return std::nullopt;
  }
  if (is_file(path / "model_index.json")) {
    ModelLayout layout{"diffusers", list_model_dir(path), {}};
    for (const auto& part : layout.model.components)
      for (const auto& missing : missing_files(part)) layout.missing.push_back(missing);
    if (!layout.missing.empty()) return RecognizedModel{std::move(layout), nullptr};
  }
  return recognize_model(path, families, options);
}

std::string stored_text(const PartInfo& part) {
  return joined(part.dtypes, "+", [](const auto& stored) { return stored.first; });
}

/// "layers 0-3 mhla, 4 softmax, 5-7 mhla".
std::string layer_runs(const std::vector<std::string>& kinds) {
  std::string text;
  for (size_t begin = 0; begin < kinds.size();) {
    size_t end = begin;
    while (end < kinds.size() && kinds[end] == kinds[begin]) ++end;
    text += (text.empty() ? "" : ", ") + std::to_string(begin) +
            (end - begin > 1 ? "-" + std::to_string(end - 1) : "") + " " + kinds[begin];
    begin = end;
  }
  return text;
}

std::string defaults_text(const Job& job) {
  std::string text = c10::str(*job.width, "x", *job.height);
  if (*job.frames > 1) text += c10::str(", ", *job.frames, " frames");
  if (job.fps) text += ", " + frame_rate_text(*job.fps) + " fps";
  text += c10::str(", ", counted(*job.steps, "step"), ", sampler ", *job.sampler, ", guidance ", *job.cfg_scale);
  if (!job.max_sequence_length) return text;  // a class-conditional model
  return text + c10::str(", flow shift ", job.flow_shift ? c10::str(*job.flow_shift) : "dynamic", ", ",
                         counted(*job.max_sequence_length, "prompt token"));
}

std::string trained_text(const TrainedOn& trained) {
  constexpr size_t kWidth = 100, kIndent = 13;
  const auto line = [](const std::string& label, const std::string& text) {
    return text.empty() ? "" : "  " + label + wrap_text(text, kWidth - kIndent, kIndent) + "\n";
  };
  const std::string frames = trained.frames_text();
  return line("trained on ", joined(trained.sizes) + (frames.empty() ? "" : "; " + frames)) +
         line("words      ", joined(trained.words));
}

std::string parts_table(const ModelInfo& info) {
  std::string out;
  int64_t parameters = 0, bytes = 0;
  char line[256];
  const auto add = [&](const std::string& name, const std::string& kind, int64_t numbers, const std::string& stored,
                       int64_t size) {
    std::snprintf(line, sizeof line, "  %-14.40s %-30.60s %15s  %-10.30s %9s\n", name.c_str(), kind.c_str(),
                  numbers ? grouped(numbers).c_str() : "-", stored.c_str(), size_in_bytes(size).c_str());
    out += line;
  };
  for (const auto& part : info.parts) {
    add(part.name, part.class_name, part.parameters, stored_text(part), part.bytes);
    parameters += part.parameters;
    bytes += part.bytes;
  }
  add("total", "parameters, size of the files", parameters, "", bytes);
  return out;
}

}  // namespace

void describe_attention(const AttentionConfig& attention, int64_t layers, ModelInfo& info) {
  for (int64_t layer = 0; layer < layers; ++layer) {
    const AttentionKind kind = attention.kind_of_layer(layer);
    info.attention.emplace_back(name_of(kind));
    if (kind == AttentionKind::kMhla && info.mhla.empty()) info.mhla = mhla_text(attention);
  }
}

std::string tokens_text(const Extent3& grid, const std::string& size, const AttentionConfig& attention,
                        const ModelInfo& info) {
  std::string text =
      c10::str(grid[0], " x ", grid[1], " x ", grid[2], " = ", grouped(grid[0] * grid[1] * grid[2]), " at ", size);
  if (info.mhla.empty()) return text;
  Extent3 block{};
  for (size_t axis = 0; axis < 3; ++axis)
    block[axis] = attention.block_tokens
                      ? (*attention.block_tokens)[axis]
                      : (grid[axis] + attention.block_layout[axis] - 1) / attention.block_layout[axis];
  text += c10::str("; in blocks of ", block[0], " x ", block[1], " x ", block[2]);
  if (attention.normalizer == Normalizer::kProducts) text += " (other sizes must divide into equal blocks as well)";
  return text;
}

std::optional<ModelInfo> read_model_info(const fs::path& given, Families families, const ModelOptions& options) {
  const fs::path path = resolve_hub_cache(given);
  ModelInfo info;
  info.path = path;
  std::optional<RecognizedModel> model;
  try {
    model = find_model(path, families, options);
  } catch (const Error& e) {
    if (!is_file(path)) throw;
    info.layout = "file";
    info.obstacle = e.what();
    info.file = read_file_info(path);
    return info;
  }
  if (!model) return std::nullopt;
  const ModelLayout* layout = &model->layout;
  info.layout = layout->name;
  info.class_name = layout->model.class_name;
  info.missing = layout->missing;
  info.notes = layout->notes;
  for (const auto& component : layout->model.components) {
    info.parts.push_back(read_info_of(component, families, info.notes));
    if (const std::string& problem = info.parts.back().problem; !problem.empty())
      info.obstacle += (info.obstacle.empty() ? "" : "; ") + problem;
  }
  for (const auto& component : layout->model.components)
    if (component.name == "transformer" || layout->name == "component") describe_denoiser(component, families, info);
  if (is_file(path)) info.file = read_file_info(path);
  if (!info.runs()) return info;
  try {
    family_of(path, families, options).describe(path, options, info);
    info.trained = TrainedOn::read(layout->model.index);
  } catch (const Error& e) {
    info.obstacle = e.what();
  }
  return info;
}

nlohmann::ordered_json to_json(const ModelInfo& info) {
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (const auto& part : info.parts) {
    parts.push_back({{"name", part.name},
                     {"class", part.class_name},
                     {"parameters", part.parameters},
                     {"dtypes", part.dtypes},
                     {"bytes", part.bytes}});
    if (!part.problem.empty()) parts.back()["problem"] = part.problem;
  }
  nlohmann::ordered_json out = {
      {"model", info.path.string()}, {"layout", info.layout}, {"class", info.class_name}, {"parts", parts}};
  out["supported"] = info.runs();
  if (!info.obstacle.empty()) out["obstacle"] = info.obstacle;
  if (!info.missing.empty()) out["missing"] = info.missing;
  if (!info.notes.empty()) out["notes"] = info.notes;
  out["attention"] = info.attention;
  if (!info.mhla.empty()) out["mhla"] = info.mhla;
  if (!info.tokens.empty()) out["tokens"] = info.tokens;
  if (info.defaults)
    for (const auto& option : job_options())
      if (is_model_default(option)) out["defaults"][json_key(option)] = recipe_json(*info.defaults)[json_key(option)];
  if (info.trained) out["trained_on"] = info.trained->to_json();
  if (info.file) out["file"] = to_json(*info.file);
  return out;
}

std::string to_text(const ModelInfo& info, bool all_tensors) {
  if (info.layout == "file")
    return to_text(*info.file, all_tensors) + "\n  not a model by itself: " + info.obstacle + "\n";
  constexpr const char* kLayouts[][2] = {{"diffusers", "diffusers' layout"}, {"component", "one part of a model"},
                                         {"wan", "Wan's own layout"},        {"wan-mhla", "Wan-MHLA checkpoint"},
                                         {"dit", "DiT checkpoint"},          {"dit-mhla", "DiT-MHLA checkpoint"}};
  std::string layout = info.layout;
  for (const auto& [name, words] : kLayouts)
    if (info.layout == name) layout = words;
  std::string out = info.path.string() + ": " + info.class_name + ", " + layout + "\n\n" + parts_table(info);
  if (!info.attention.empty()) out += "\n  attention  layers " + layer_runs(info.attention) + "\n";
  if (!info.mhla.empty()) out += "  mhla       " + info.mhla + "\n";
  if (!info.tokens.empty()) out += "  tokens     " + info.tokens + "\n";
  if (info.defaults) out += "  defaults   " + defaults_text(*info.defaults) + "\n";
  if (info.trained) out += trained_text(*info.trained);
  for (const auto& note : info.notes) out += "  note       " + note + "\n";
  for (const auto& missing : info.missing) out += "\n  missing: " + missing + "\n";
  if (!info.obstacle.empty()) out += "\n  cannot run: " + info.obstacle + "\n";
  if (info.file) out += "\n" + to_text(*info.file, all_tensors);
  return out;
}

}  // namespace tessera
