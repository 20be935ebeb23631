#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "batch/prompt_formats.h"
#include "core/job.h"

namespace tessera {

/// A small text file beside the outputs; name relative to the output folder, "" when there is none.
struct SideFile {
  std::string name, text;
};

/// One render that a prompt file asks for: count, lists and grid are expanded, job.count is 1.
struct PromptJob {
  int64_t line = 1;
  std::string id;   ///< names the output: a relative path without extension, safe on any file system
  Job job;          ///< its seed is decided; `output` is "" or a relative path of the same safety, or a layout's name
  int64_t row = 0;  ///< of its prompt among those of the file
  std::string prompt_id = {};  ///< what the ids of all outputs of its prompt begin with
  bool has_id = false;         ///< the file says it
  bool has_seed = false;       ///< the file or a flag says it
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();  ///< keys of its row that are no options
  bool faulty = false;          ///< mistakes were found in it; the model may still find more of them
  std::vector<Job> tiles = {};  ///< of a tiled output: the pictures after `job`; see Layout::tiled
  SideFile side_file = {};      ///< see Layout::side_file
};

struct PromptFile {
  std::string name;  ///< for messages: its path, or "standard input"
  std::vector<PromptJob> jobs;
  std::vector<std::string> notes;
  Mistakes mistakes;  ///< with any, the jobs are for finding more of them
};

/// The largest prompt file that is read, in bytes.
constexpr int64_t kLargestPromptFile = 64 << 20;

/// Reads and checks a whole prompt file, a folder of .txt files, or with "-" standard input; `flags` (option, value: as
/// given to the program) win over the file's defaults and give way to what a prompt says itself. A seed that is
/// missing, or -1, comes from the SHA-256 of the id, so that a file means the same pixels every time. Collects every
/// mistake with its line: syntax, unknown keys (with the nearest), values out of range, ids that are used twice, differ
/// in case alone, climb out of the output folder or are too long. Throws Error when there is nothing to read.
/// `prompt_key`: see read_prompt_source. `largest` is replaced in tests. `count`: outputs of a prompt when
/// nothing says a number. `lora_dir`: <lora:...> in prompts is loaded from there (see take_lora_tags); "" leaves it.
PromptFile read_prompt_file(const std::filesystem::path& path,
                            const std::vector<std::pair<const JobOption*, std::string>>& flags = {},
                            int64_t largest = kLargestPromptFile, const std::string& prompt_key = "", int64_t count = 1,
                            const std::filesystem::path& lora_dir = {});

/// The id as a name: characters that some file systems refuse become '_'. `problem` is "" or says why the id cannot
/// name an output.
std::string safe_name(const std::string& id, std::string& problem);

/// The JSON Schema (2020-12) of a prompt file, made from the table in core/job.h. docs/prompts.schema.json holds it.
nlohmann::ordered_json prompt_schema();

}  // namespace tessera
