#include "checkpoints/convert.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "checkpoints/hub_cache.h"
#include "checkpoints/load_part.h"
#include "checkpoints/lora.h"
#include "checkpoints/wan/mhla_settings.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/disk_space.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/paths.h"
#include "kernels/pack.h"
#include "weights/names.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// What a tokenizer or a processor of pictures may consist of.
constexpr const char* kCopiedFiles[] = {"spiece.model", "tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "preprocessor_config.json"};

constexpr int64_t kLargestFile = 10'000'000'000;  // diffusers' limit

bool is_scheduler(const Component& part) {
  return part.name == "scheduler";
}
bool is_tokenizer(const Component& part) {
  return part.name.starts_with("tokenizer");
}
bool is_alone(const ModelLayout& layout) {
  return layout.name == "component";
}

/// The class that is written: a denoiser's may have had another name in older versions of diffusers.
std::string written_class(const Component& part, Families families) {
  const Denoiser* denoiser = find_denoiser(part.class_name, families);
  return denoiser ? denoiser->classes.front() : part.class_name;
}

/// A hidden folder beside the final one, which becomes it or goes.
class PartFolder {
 public:
  explicit PartFolder(const fs::path& target) : target_(target.has_filename() ? target : target.parent_path()) {
    std::error_code problem;
    if (fs::symlink_status(target_, problem).type() != fs::file_type::not_found)
      throw Error(target_.string() + " already exists; choose a folder that does not");
    // A name in use is what a killed run of the same process id left: never mixed with this one.
    const std::string stem = "." + target_.filename().string() + "." + std::to_string(::getpid());
    problem.clear();
    bool made = false;
    for (int i = 0; !made && !problem; ++i) {
      part_ = target_.parent_path() / (stem + (i > 0 ? "-" + std::to_string(i) : "") + ".part");
      made = fs::create_directory(part_, problem);
    }
    if (problem) throw write_error(part_, problem.value());
  }
  ~PartFolder() {
    std::error_code ignored;
    fs::remove_all(part_, ignored);
  }
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;

  const fs::path& path() const { return part_; }
  void commit() {
    std::error_code problem;
    fs::rename(part_, target_, problem);
    if (problem) throw write_error(target_, problem.value());
  }

 private:
  fs::path target_, part_;
};

Error differs(const std::string& where, const std::string& tensor) {
  return Error(where + ": tensor " + tensor + " does not read back as it was written; the disk may be faulty",
               ExitCode::kFailed);
}

/// Throws when what was written differs from what was meant, saying why if it is the dtype.
void compare(const std::string& name, const at::Tensor& source, const at::Tensor& written,
             std::optional<at::ScalarType> dtype, const std::string& where) {
  const at::Tensor want = (dtype && source.is_floating_point() ? source.to(*dtype) : source).contiguous();
  const at::Tensor got = written.contiguous();
  if (want.scalar_type() != got.scalar_type() || want.sizes() != got.sizes() ||
      (want.nbytes() > 0 && std::memcmp(want.const_data_ptr(), got.const_data_ptr(), want.nbytes()) != 0))
    throw differs(where, name);
  const bool overflowed = want.scalar_type() != source.scalar_type() && want.is_floating_point() &&
                          !at::isfinite(want).all().item<bool>() && at::isfinite(source).all().item<bool>();
  if (overflowed)
    throw Error(where + ": tensor " + name + " has a value of " +
                c10::str(source.abs().max().to(at::kDouble).item<double>()) + ", too large for " +
                c10::toString(want.scalar_type()) + "; use --dtype bf16 or fp32");
}

/// How a matrix is quantized; nullopt when no block fits its rows.
std::optional<PackedType> fitting(const at::Tensor& tensor, PackedType type) {
  for (const PackedType each : {type, PackedType::kQ8_0})
    if (tensor.dim() == 2 && tensor.size(1) % format_of(each).numbers == 0) return each;
  return std::nullopt;
}

PackingPlan plan_of(const Component& part, const TensorFile& source, Families families, const ConvertRequest& request) {
  PackingPlan plan;
  if (request.dtype) return plan;
  const std::set<std::string> matrices = request.packed ? matrices_of(part, families) : std::set<std::string>();
  for (const auto& [name, tensor] : source.tensors()) {
    if (matrices.count(name)) {
      if (const auto type = fitting(tensor, *request.packed)) plan[name] = *type;
    } else if (const PackedWeight* weight = packed_weight(tensor); weight && !request.packed) {
      plan[name] = weight->type;
    }
  }
  return plan;
}

/// What a tensor is written as when it is not in the plan.
at::Tensor plain_source(const at::Tensor& tensor, const at::Tensor& written) {
  return packed_weight(tensor) ? unpacked(tensor, written.scalar_type()) : tensor;
}

/// The same tensor in a GGUF file: of one axis, it is float32 there.
std::optional<at::ScalarType> written_dtype(const at::Tensor& written, const PackingPlan& plan,
                                            const ConvertRequest& request) {
  return plan.empty() || packed_weight(written) ? request.dtype : std::optional(written.scalar_type());
}

void compare_all(const TensorFile& source, const TensorFile& back, const PackingPlan& plan,
                 const ConvertRequest& request) {
  if (back.names() != source.names())
    throw Error(back.where() + " does not read back with the names it was written with", ExitCode::kFailed);
  for (const auto& [name, tensor] : source.tensors()) {
    throw_if_canceled();
    const at::Tensor& written = back.at(name);
    if (const auto found = plan.find(name); found != plan.end()) {
      if (!same_packed(packed_tensor(packed_for(tensor, found->second)), written)) throw differs(source.where(), name);
      continue;
    }
    compare(name, plain_source(tensor, written), written, written_dtype(written, plan, request), source.where());
  }
}

/// The part's tensors with the LoRAs in them, in the dtypes that they have.
TensorFile with_loras(const Component& part, TensorFile source, const ConvertRequest& request, LoraShelf* shelf) {
  if (!shelf) return source;
  std::map<std::string, std::vector<LoraTerm>> terms;
  for (const LoraUse& use : request.loras) {
    const OpenedLora& lora = shelf->open(use.path);
    const auto changes = lora.changes.find(part.name);
    if (changes == lora.changes.end()) continue;
    for (const auto& [name, added] : changes->second)
      for (LoraTerm term : added) {
        term.strength = use.strength;
        terms[name].push_back(term);
      }
  }
  std::map<std::string, at::Tensor> tensors = source.tensors();
  for (const auto& [name, added] : terms) {
    throw_if_canceled();
    const at::Tensor base = tensors.at(name);
    set_with_loras({name, &tensors[name], base.sizes().vec(), {}}, base, added, base.scalar_type(), at::kCPU);
  }
  return {std::move(tensors), source.where(), source.metadata()};
}

void write_network(const Component& part, Families families, const fs::path& folder, const ConvertRequest& request,
                   LoraShelf* shelf) {
  const TensorFile source = with_loras(part, read_part(part, families), request, shelf);
  const PackingPlan plan = plan_of(part, source, families, request);
  const Component written{
      .name = part.name, .library = part.library, .class_name = written_class(part, families), .folder = folder};
  write_component(written, config_of(part, families, request.classifier), source.tensors(), {{"format", "pt"}},
                  request.dtype, kLargestFile, plan);
  compare_all(source, plan.empty() ? read_weights(written) : read_component(written), plan, request);
}

void write_json(const fs::path& path, const json& value) {
  write_file_atomically(path, value.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

void write_scheduler(const Component& part, const fs::path& folder) {
  fs::create_directory(folder / part.name);
  json config = part.config().json();
  config["_class_name"] = part.class_name;
  write_json(folder / part.name / "scheduler_config.json", config);
}

void copy_files(const Component& part, const fs::path& folder) {
  const fs::path target = folder / part.name;
  fs::create_directory(target);
  for (const char* name : kCopiedFiles) {
    if (!is_file(part.folder / name)) continue;
    std::error_code problem;
    fs::copy_file(part.folder / name, target / name, problem);
    if (problem) throw write_error(target / name, problem.value());
  }
  if (is_tokenizer(part) && !is_file(target / "tokenizer_config.json"))
    write_json(target / "tokenizer_config.json", {{"tokenizer_class", part.class_name}});
}

/// Keys of model_index.json that are no parts: what the model is to be used with.
json index_options(const ModelDir& model) {
  json options = json::object();
  for (const auto& [key, value] : model.index.json().items())
    if (!model.find(key)) options[key] = value;
  return options;
}

/// What the written files will take, within a few per cent.
int64_t expected_bytes(const std::vector<Component>& parts, Families families, const ConvertRequest& request) {
  int64_t bytes = 0;
  for (const Component& part : parts) {
    if (!is_network(part)) continue;
    const TensorFile file = read_part(part, families);
    const PackingPlan plan = plan_of(part, file, families, request);
    for (const auto& [name, tensor] : file.tensors()) {
      const auto found = plan.find(name);
      const bool converted = request.dtype && tensor.is_floating_point();
      bytes += found != plan.end() ? packed_bytes(found->second, tensor.numel()).value_or(0)
                                   : tensor.numel() * static_cast<int64_t>(converted ? c10::elementSize(*request.dtype)
                                                                                     : tensor.element_size());
    }
  }
  return bytes;
}

int64_t folder_bytes(const fs::path& folder) {
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

/// Opens what was written as any user will and binds the weights to the networks.
void check_written(const ModelLayout& layout, const Family* family, Families families, const fs::path& folder) {
  if (is_alone(layout)) return check_component(open_component(folder), families, WeightCheck::kNumbers);
  if (layout.missing.empty() && family) family->check(folder, {});
}

/// The model's LoRAs, opened and matched before a byte is written; none when none are asked for.
std::optional<LoraShelf> open_loras(const ModelLayout& layout, const Family* family, const ConvertRequest& request,
                                    const std::function<void(const std::string&)>& tell) {
  if (request.loras.empty()) return std::nullopt;
  if (is_alone(layout) || !layout.missing.empty() || !family || !family->loras)
    throw Error(request.input.string() + ": --lora wants a whole text-to-video model (Wan), with all its parts");
  std::optional<LoraShelf> shelf = family->loras(resolve_hub_cache(request.input));
  for (const LoraUse& use : request.loras)
    if (const std::string note = shelf->open(use.path).unmatched_note(); !note.empty()) tell("note: " + note);
  return shelf;
}

void check_options(const ModelLayout& layout, const ConvertRequest& request) {
  const ClassifierOptions& classifier = request.classifier;
  if ((classifier.heads || classifier.power) && !is_classifier_class(layout.model.class_name))
    throw Error(request.input.string() + " is not a classifier by itself: --heads and --focusing-factor do not apply");
}

/// Everything that can be said of the input without reading its numbers, before a byte is written.
void check_input(const ModelLayout& layout, Families families, const ConvertRequest& request) {
  check_options(layout, request);
  ModelLayout present = layout;
  if (request.incomplete && !is_alone(layout)) present.missing.clear();
  require_fit(present, families, is_alone(layout) ? "" : "; --incomplete writes the parts that are there",
              request.classifier);
  if (!is_alone(layout)) return;
  // One of a class that has no network here can only be refused.
  check_component(layout.model.components.front(), families, WeightCheck::kHeaders, request.classifier);
}

/// Writes the part and makes it what was written.
void write_part(Component& part, Families families, const fs::path& folder, const ConvertRequest& request,
                LoraShelf* shelf) {
  if (is_scheduler(part)) return write_scheduler(part, folder);
  if (!is_network(part)) return copy_files(part, folder);
  write_network(part, families, folder / part.name, request, shelf);
  part.class_name = written_class(part, families);
}

/// Writes a transformer as the MHLA repository has it, and reads it back.
void write_mhla_release(const Component& part, Families families, const fs::path& folder, const ConvertRequest& request,
                        LoraShelf* shelf) {
  if (part.class_name != "WanTransformer3DModel")
    throw Error(request.input.string() + ": --layout wan-mhla is for transformers of Wan-MHLA, not for " +
                part.class_name);
  if (request.packed) throw Error("--layout wan-mhla has no quantized weights; give --dtype fp32, bf16, fp16 or keep");
  const JsonConfig config(config_of(part, families), part.folder.string());
  const std::string yaml = mhla_training_yaml(config);
  const TensorFile source = with_loras(part, read_part(part, families), request, shelf);
  const fs::path file = folder / "model.safetensors";
  write_safetensors(file, renamed(source, names_in_gguf(source, part.class_name)).tensors(), {{"format", "pt"}},
                    request.dtype);
  write_file_atomically(folder / "mhla.yaml", yaml);
  const TensorFile back = read_safetensors(file);
  if (!has_original_wan_names(back)) throw differs(file.string(), "blocks.0.self_attn.q.weight");
  compare_all(source, canonical_tensors(back, part.class_name), {}, request);
}

}  // namespace

std::vector<std::string> quantized_names() {
  std::vector<std::string> names;
  for (const PackedType type : types_to_pack()) names.push_back(packed_name(type));
  return names;
}

void set_storage(ConvertRequest& request, const std::string& name) {
  request.dtype = find_dtype(name);
  request.packed.reset();
  for (const PackedType type : types_to_pack())
    if (packed_name(type) == name) request.packed = type;
  if (name == "keep" || request.dtype || request.packed) return;
  std::vector<std::string> known = dtype_choices("keep");
  for (const std::string& quantized : quantized_names()) known.push_back(quantized);
  throw Error("--dtype: unknown value \"" + name + "\"" + suggestion(name, known));
}

ConvertResult convert_model(const ConvertRequest& request, Families families,
                            const std::function<void(const std::string&)>& tell) {
  const auto [layout, family] = recognize_model(resolve_hub_cache(request.input), families, request.options);
  check_input(layout, families, request);
  for (const auto& note : layout.notes) tell("note: " + note);
  for (const auto& missing : layout.missing) tell("left out: " + missing);
  std::optional<LoraShelf> loras = open_loras(layout, family, request, tell);
  LoraShelf* shelf = loras ? &*loras : nullptr;
  PartFolder folder(request.output);
  check_free_space(folder.path(), expected_bytes(layout.model.components, families, request));
  ConvertResult result{.layout = layout.name, .parts = {}};
  if (request.mhla_release) {
    const Component& part = is_alone(layout) ? layout.model.components.front() : layout.model.component("transformer");
    tell("writing " + part.name + " (" + part.class_name + ")");
    write_mhla_release(part, families, folder.path(), request, shelf);
    result.parts = {part.name};
    result.bytes = folder_bytes(folder.path());
    folder.commit();
    return result;
  }
  std::vector<Component> written = layout.model.components;
  for (Component& part : written) {
    throw_if_canceled();
    tell("writing " + part.name + " (" + part.class_name + ")");
    if (is_alone(layout))
      write_network(part, families, folder.path(), request, shelf);
    else
      write_part(part, families, folder.path(), request, shelf);
    result.parts.push_back(part.name);
  }
  if (!is_alone(layout))
    write_model_index(folder.path(), layout.model.class_name, written, index_options(layout.model));
  tell("checking what was written");
  check_written(layout, family, families, folder.path());
  result.bytes = folder_bytes(folder.path());
  folder.commit();
  return result;
}

}  // namespace tessera
