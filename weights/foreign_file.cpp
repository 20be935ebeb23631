#include "weights/foreign_file.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "core/utf8.h"
#include "kernels/packed.h"
#include "weights/file_map.h"
#include "weights/shown.h"
#include "weights/zip_directory.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

/// How download programs name what is not complete: aria2's control file; Firefox and yt-dlp; Chrome; the Hugging Face
/// hub; Safari; Opera; curl and wget scripts; qBittorrent.
constexpr const char* kUnfinished[] = {".aria2",    ".part",       ".crdownload", ".incomplete",
                                       ".download", ".opdownload", ".partial",    ".!qB"};
constexpr const char* kOtherDtype = "get the bf16, fp16 or fp32 file of the same model";

constexpr const char* kGguf =
    "GGUF file (quantized weights), which is read only as a transformer of Wan or a UMT5 encoder: get the safetensors "
    "file of the same model";

struct Magic {
  std::string_view bytes;
  const char* meaning;
};
constexpr std::array<Magic, 9> kMagics = {{
    {{"GGUF", 4}, nullptr},  // see kGguf
    {{"version https://git-lfs", 23},
     "it is a Git LFS pointer, not the file itself: run git lfs pull in its repository, or download the file"},
    {{"\x1f\x8b", 2}, "it is a gzip archive: unpack it first"},
    {{"\xfd"
      "7zXZ",
      5},
     "it is an xz archive: unpack it first"},
    {{"\x28\xb5\x2f\xfd", 4}, "it is a zstd archive: unpack it first"},
    {{"7z\xbc\xaf\x27\x1c", 6}, "it is a 7-Zip archive: unpack it first"},
    {{"Rar!\x1a", 5}, "it is a RAR archive: unpack it first"},
    {{"\x89HDF\r\n\x1a\n", 8},
     "it is an HDF5 file (Keras), which is not supported: get the safetensors file of the same model"},
    {{"\x93NUMPY", 6}, "it is a NumPy array, not weights"},
}};

std::string_view text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Whether these are characters that people read, in UTF-8; the last one may be cut off.
bool is_printable(std::string_view text) {
  constexpr size_t kLongestCharacter = 4;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const std::optional<uint32_t> code = next_code_point(text, at);
    if (!code) return text.size() - here < kLongestCharacter && here > 0;
    const bool control = (*code < ' ' && *code != '\n' && *code != '\r' && *code != '\t') || *code == 127;
    if (control) return false;
  }
  return true;
}

bool contains_any_case(std::string_view text, std::string_view lower) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::search(text.begin(), text.end(), lower.begin(), lower.end(), same) != text.end();
}

/// What a text in place of weights is; "" when the bytes are not text.
std::string foreign_text(std::string_view start) {
  const size_t first = start.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  const std::string_view text = start.substr(first);
  const std::string again = ": download it again with its direct link, signed in where the site asks for it";
  if (text.front() == '<' && (contains_any_case(text, "<html") || contains_any_case(text, "<!doctype html")))
    return "it is a web page (HTML), not the file itself" + again;
  if (text.starts_with("<?xml") || (text.front() == '<' && contains_any_case(text, "<error>")))
    return "it is an XML document, as a storage server answers when it refuses a file" + again;
  if (!is_printable(text)) return "";
  if (text.front() == '<') return "it looks like a web page, not the file itself" + again;
  const size_t end = std::min(text.find_first_of("\r\n"), text.size());
  const std::string quoted = shown(text.substr(0, std::min<size_t>(end, 80)));
  if (text.front() == '{' || text.front() == '[') return "it is JSON text (" + quoted + "), not weights" + again;
  return "it is text (" + quoted + "), most likely a server's answer in place of the file" + again;
}

bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return name.ends_with(end); });
}

bool holds_any(const std::string& name, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return name.find(part) != std::string::npos; });
}

bool is_lora_name(const std::string& name) {
  return holds_any(name, {".lora_A.", ".lora_B.", ".lora_up.", ".lora_down.", ".lora.up.", ".lora.down.", "lora_unet_",
                          "lora_te", ".hada_w", ".lokr_w", ".lora_linear_layer.", ".lora_magnitude_vector"}) ||
         ends_with_any(name, {".lora_A", ".lora_B", ".lora_up", ".lora_down", ".alpha", ".dora_scale"});
}

/// Scales that weights/scaled_weights does not read: of DeepSeek's files, and of two levels.
bool is_fp8_scale(const std::string& name) {
  return ends_with_any(name, {".weight_scale_inv", ".weight_scale_2", ".pre_quant_scale"});
}

/// The kind of Wan model whose transformer alone has a tensor of that name, of those that do not run; "" for others.
std::string other_wan_kind(const std::string& name) {
  if (holds_any(name, {"vace_blocks.", "vace_patch_embedding."})) return "VACE";
  if (holds_any(name, {"face_adapter.", "motion_encoder.", "pose_patch_embedding."})) return "Animate";
  if (holds_any(name, {"audio_injector.", "casual_audio_encoder."})) return "S2V";
  return "";
}

bool is_quantized_name(const std::string& name) {
  return ends_with_any(name, {".absmax", ".quant_map", ".nested_absmax", ".SCB", ".weight_format", ".qweight",
                              ".qzeros", ".g_idx", ".wscales", ".weight._data", ".weight._scale"}) ||
         holds_any(name, {".quant_state."});
}

/// Bytes of a packed or contiguous tensor, none for others.
std::span<const uint8_t> bytes_of(const at::Tensor& given) {
  const PackedWeight* packed = packed_weight(given);
  const at::Tensor& tensor = packed ? packed->bytes : given;
  if (!tensor.is_cpu() || !tensor.is_contiguous() || tensor.nbytes() == 0) return {};
  return {static_cast<const uint8_t*>(tensor.const_data_ptr()), tensor.nbytes()};
}

bool all_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

/// The unfinished blob of the Hugging Face hub's cache that `folder` lies in; "" when there is none.
std::string unfinished_blob(const fs::path& folder) {
  std::error_code problem;
  fs::path above = fs::absolute(folder, problem);
  for (int level = 0; level < 4 && above.has_relative_path(); ++level, above = above.parent_path()) {
    if (above.filename() != "snapshots") continue;
    for (auto entry = fs::directory_iterator(above.parent_path() / "blobs", problem);
         !problem && entry != fs::directory_iterator(); entry.increment(problem))
      if (entry->path().extension() == ".incomplete") return entry->path().string();
  }
  return "";
}

std::string unfinished_sentence(const std::string& name) {
  return name + " is an unfinished download: finish it or download it again";
}

}  // namespace

void refuse_unfinished(const fs::path& path) {
  std::error_code ignored;
  const std::string name = path.string();
  for (const char* end : kUnfinished)
    if (name.ends_with(end) && is_file(path))
      throw Error(name + " is an unfinished download (its name ends in " + end +
                  "): finish it or download the file again");
  const fs::path target = fs::canonical(path, ignored);
  for (const fs::path& file : {path, target})
    for (const char* end : kUnfinished) {
      const fs::path beside = file.string() + end;
      if (!file.empty() && fs::exists(beside, ignored))
        throw Error(name + " is an unfinished download: " + beside.string() +
                    " lies beside it; finish the download, or delete that file if " + path.filename().string() +
                    " is complete");
    }
}

std::string foreign_bytes(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return "it is empty: download it again";
  const std::string_view start = text_of(bytes.first(std::min<size_t>(bytes.size(), 512)));
  for (const Magic& magic : kMagics)
    if (start.starts_with(magic.bytes)) return magic.meaning ? magic.meaning : std::string("it is a ") + kGguf;
  if (all_zero(bytes.first(std::min<size_t>(bytes.size(), 64))))
    return "it begins with zeros, space that a download reserved and never filled: finish the download or start it "
           "again";
  return foreign_text(start);
}

void refuse_foreign(const fs::path& path, const std::string& wanted) {
  refuse_unfinished(path);
  const FileMap map(path, wanted);
  if (map.begins_with("PK\x03\x04")) {
    read_zip_directory(map.bytes(), path.string());
    return;
  }
  const std::string found = foreign_bytes(map.bytes());
  if (!found.empty()) throw Error(path.string() + " is not " + wanted + "; " + found);
}

std::string other_wan_model(const TensorFile& file) {
  for (const auto& [name, tensor] : file.tensors())
    if (const std::string kind = other_wan_kind(name); !kind.empty())
      return "it is of a Wan " + kind + " model (it holds " + plain(name) +
             "), which is not supported: want one for text to video or image to video";
  return "";
}

std::string foreign_tensors(const TensorFile& file) {
  size_t lora = 0;
  std::string lora_name, fp8_name, quantized_name;
  for (const auto& [name, tensor] : file.tensors()) {
    if (is_lora_name(name)) {
      ++lora;
      if (lora_name.empty() && !name.ends_with(".alpha")) lora_name = name;
    }
    if (fp8_name.empty() && is_fp8_scale(name)) fp8_name = name;
    if (quantized_name.empty() && is_quantized_name(name)) quantized_name = name;
  }
  if (!lora_name.empty() && 2 * lora > file.tensors().size())
    return "it is a LoRA (it holds " + plain(lora_name) + " and the like), which changes a model and is none by " +
           "itself: name its model with --model and the LoRA with --lora, or merge it into its model";
  if (!lora_name.empty())
    return "it holds a LoRA that is not merged (" + plain(lora_name) + "): merge it with PEFT's merge_and_unload first";
  if (const std::string other = other_wan_model(file); !other.empty()) return other;
  if (!fp8_name.empty())
    return "it holds quantized weights with scales of a kind that is not read (" + plain(fp8_name) +
           "): " + kOtherDtype;
  if (!quantized_name.empty())
    return "it holds quantized weights (" + plain(quantized_name) + "), which are not supported: " + kOtherDtype;
  return "";
}

bool holds_only_zeros(const TensorFile& file) {
  constexpr size_t kProbe = 64;
  bool any = false;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto bytes = bytes_of(tensor);
    if (bytes.empty()) continue;
    any = true;
    const size_t size = std::min(bytes.size(), kProbe);
    for (const size_t begin : {size_t{0}, (bytes.size() - size) / 2, bytes.size() - size})
      if (!all_zero(bytes.subspan(begin, size))) return false;
  }
  return any && std::all_of(file.tensors().begin(), file.tensors().end(),
                            [](const auto& entry) { return all_zero(bytes_of(entry.second)); });
}

std::string foreign_holdings(const fs::path& folder) {
  std::vector<std::string> names, sentences;
  std::error_code problem;
  for (auto entry = fs::directory_iterator(folder, problem); !problem && entry != fs::directory_iterator();
       entry.increment(problem))
    names.push_back(entry->path().filename().string());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const fs::path path = folder / name;
    const bool unfinished = std::any_of(std::begin(kUnfinished), std::end(kUnfinished),
                                        [&](const char* end) { return name.ends_with(end); });
    if (unfinished)
      sentences.push_back(unfinished_sentence(name));
    else if (fs::is_symlink(path, problem) && !fs::exists(path, problem))
      sentences.push_back(name + " is a link to a file that is not there: download it again");
  }
  if (const std::string blob = unfinished_blob(folder); !blob.empty()) sentences.push_back(unfinished_sentence(blob));
  constexpr size_t kMostShown = 3;
  if (sentences.size() > kMostShown) sentences.resize(kMostShown);
  return joined(sentences, "; ");
}

}  // namespace tessera
