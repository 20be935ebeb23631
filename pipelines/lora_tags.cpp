#include "pipelines/lora_tags.h"

#include <algorithm>

#include "core/error.h"
#include "core/paths.h"
#include "core/text.h"
#include "core/utf8.h"
#include "core/visible_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOpen = "<lora:";
constexpr const char* kExtensions[] = {".safetensors", ".pt", ".ckpt", ".bin"};

bool is_lora_extension(const fs::path& path) {
  return std::find(std::begin(kExtensions), std::end(kExtensions), path.extension().string()) != std::end(kExtensions);
}

/// The file of that name in or below the folder.
fs::path find_lora(const fs::path& folder, const std::string& name) {
  if (!is_folder(folder)) throw Error("--lora-dir " + folder.string() + ": no such folder");
  std::vector<std::string> names, found;
  for (const fs::path& file : visible_files(folder)) {
    if (!is_lora_extension(file)) continue;
    const std::string without = (file.parent_path() / file.stem()).string();
    names.push_back(file.stem().string());
    if (without == name || file.string() == name) return folder / file;
    if (file.stem() == name || file.filename() == name) found.push_back(file.string());
  }
  if (found.size() == 1) return folder / found.front();
  if (found.empty())
    throw Error("<lora:" + shortened(name, 100) + ">: no such file in --lora-dir " + folder.string() +
                (names.empty() ? ", which holds no LoRA" : suggestion(name, names)));
  throw Error("<lora:" + name + ">: --lora-dir " + folder.string() +
              " has several files of that name: " + joined(found) + "; write the folder into the name");
}

LoraUse use_of(std::string_view inside, const fs::path& folder) {
  const std::string tag = "<lora:" + shortened(std::string(inside), 100) + ">";
  std::vector<std::string> fields(1);
  for (const char c : inside) {
    if (c == ':')
      fields.emplace_back();
    else
      fields.back() += c;
  }
  if (fields.size() > 2)
    throw Error(tag + ": a LoRA has one strength here, as in <lora:style:0.8>; it holds for all networks");
  const std::string name = trimmed(fields.front());
  if (name.empty()) throw Error(tag + ": want a name, as in <lora:style:0.8>");
  Job scratch;
  const std::string strength = fields.size() == 2 ? trimmed(fields[1]) : "1";
  try {
    set_job_option(
        scratch, find_job_option("lora"),
        nlohmann::json::array({name + ":" + (strength.starts_with('+') ? strength.substr(1) : strength)}).dump());
  } catch (const Error&) {
    throw Error(tag + ": want a strength from -100 to 100, got \"" + shortened(strength, 40) + "\"");
  }
  if (scratch.loras.front().path != name) throw Error(tag + ": want a number behind the name, as in <lora:style:0.8>");
  return {.path = find_lora(folder, name).string(), .strength = scratch.loras.front().strength};
}

}  // namespace

bool has_lora_tags(const std::string& prompt) {
  const size_t at = prompt.find(kOpen);
  return at != std::string::npos && prompt.find('>', at) != std::string::npos;
}

void take_lora_tags(Job& job, const fs::path& folder) {
  if (!has_lora_tags(job.prompt)) return;
  std::string& prompt = job.prompt;
  for (size_t at = prompt.find(kOpen); at != std::string::npos; at = prompt.find(kOpen, at)) {
    const size_t end = prompt.find('>', at);
    if (end == std::string::npos) break;
    const size_t begin = at + kOpen.size();
    job.loras.push_back(use_of(std::string_view(prompt).substr(begin, end - begin), folder));
    prompt.erase(at, end + 1 - at);
    const bool gap = at > 0 && prompt[at - 1] == ' ' && (at == prompt.size() || prompt[at] == ' ');
    if (gap) prompt.erase(--at, 1);
  }
  prompt = trimmed(prompt);
}

}  // namespace tessera
