#include "batch/prompt_formats.h"

#include <algorithm>
#include <filesystem>

#include "batch/entry_list.h"
#include "batch/prompt_json.h"
#include "batch/prompt_table.h"
#include "batch/prompt_text.h"
#include "core/error.h"
#include "core/located_yaml.h"
#include "core/printable.h"
#include "core/text.h"

namespace tessera {
namespace {

constexpr size_t kMostShown = 100;

/// The lines of a text that are not blank, with their numbers.
std::vector<std::pair<std::string, int64_t>> lines_of(std::string_view text, size_t most = std::string_view::npos) {
  std::vector<std::pair<std::string, int64_t>> lines;
  int64_t number = 1;
  for (size_t start = 0; start < text.size() && lines.size() < most; ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (std::string line = trimmed(text.substr(start, end - start)); !line.empty())
      lines.emplace_back(std::move(line), number);
    start = end + 1;
  }
  return lines;
}

/// One JSON value a line, several lines.
bool looks_like_json_lines(std::string_view text) {
  const auto first = lines_of(text, 2);
  const auto is_value = [](const auto& line) {
    return std::string_view("{[\"").find(line.first[0]) != std::string_view::npos && nlohmann::json::accept(line.first);
  };
  return first.size() == 2 && is_value(first[0]) && is_value(first[1]) && !nlohmann::json::accept(text);
}

/// Whether a text begins as JSON does and prompts do not: with a bracket or a brace and then a quote, another bracket,
/// or nothing between them.
bool begins_as_json(std::string_view text) {
  const std::string start = trimmed(text.substr(0, 4096));
  if (!start.starts_with('{') && !start.starts_with('[')) return false;
  const std::string inside = trimmed(std::string_view(start).substr(1));
  return !inside.empty() && std::string_view(start[0] == '[' ? "\"{[]" : "\"}").find(inside[0]) != std::string::npos;
}

bool begins_as_yaml(std::string_view text) {
  for (const auto& [line, number] : lines_of(text, 100)) {
    if (line[0] == '#') continue;
    for (const std::string_view start : {"---", "version:", "defaults:", "prompts:", "- prompt:", "- id:"})
      if (line.starts_with(start)) return true;
    return false;
  }
  return false;
}

enum class Form { kText, kJson, kJsonLines, kYaml };

Form form_of(std::string_view text, const std::string& extension) {
  if (extension == ".yaml" || extension == ".yml") return Form::kYaml;
  if (extension == ".jsonl" || extension == ".ndjson") return Form::kJsonLines;
  const bool is_text = extension == ".txt" || extension == ".csv" || extension == ".tsv";
  const std::string start = trimmed(text.substr(0, 4096)).substr(0, 1);
  if (extension == ".json" || begins_as_json(text) || (!is_text && (start == "{" || start == "[")))
    return looks_like_json_lines(text) ? Form::kJsonLines : Form::kJson;
  if (looks_like_json_lines(text)) return Form::kJsonLines;
  if (!is_text && begins_as_yaml(text)) return Form::kYaml;
  return Form::kText;
}

void read_folder(const PromptInput& input, EntryList& list) {
  for (size_t i = 0; i < input.files.size(); ++i) {
    const PromptInput::File& file = input.files[i];
    read_whole_prompt(file.text, static_cast<int64_t>(i) + 1, std::filesystem::path(file.name).stem().string(), list);
  }
  if (!input.left_out.empty())
    list.source().notes.push_back(
        "left out, because only .txt files are prompts: " +
        joined(std::vector<std::string>(
            input.left_out.begin(),
            input.left_out.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(10, input.left_out.size())))) +
        (input.left_out.size() > 10 ? ", ..." : ""));
}

/// Parses a text and hands it on; false when it is not valid.
bool parse(std::string_view text, int64_t line, bool yaml, Mistakes& mistakes, const auto& use) {
  try {
    use(yaml ? parse_located_yaml(text) : parse_located_json(text, line));
    return true;
  } catch (const SyntaxError& error) {
    mistakes.add(error.line,
                 (yaml ? "not valid YAML: " : "not valid JSON at column " + std::to_string(error.column) + ": ") +
                     error.problem);
    return false;
  }
}

void read_json_lines(std::string_view text, EntryList& list) {
  std::vector<LocatedJson> rows;
  for (const auto& [line, number] : lines_of(text)) {
    if (list.mistakes().full()) break;
    parse(line, number, false, list.mistakes(), [&](LocatedJson row) { rows.push_back(std::move(row)); });
  }
  read_json_rows(rows, list);
}

void refuse_prompt_key(const EntryList& list) {
  if (!list.prompt_key().empty())
    throw Error("--prompt-key is for files whose prompts have keys or columns; these are lines of text");
}

}  // namespace

void Mistakes::throw_if_any(const std::string& file) const {
  if (found_.empty()) return;
  auto sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::string count =
      full() ? std::to_string(size()) + " or more mistakes" : counted(static_cast<int64_t>(size()), "mistake");
  std::string text = file + ": " + count + "; nothing was rendered";
  const auto place = [&](int64_t line) {
    if (line < 1) return std::string();
    const auto index = static_cast<size_t>(line) - 1;
    return (index < names_.size() ? names_[index] : "line " + std::to_string(line)) + ": ";
  };
  for (size_t i = 0; i < std::min(sorted.size(), kMostShown); ++i)
    text += "\n  " + printable_line(place(sorted[i].first) + sorted[i].second);
  if (size() > kMostShown) text += "\n  and " + std::to_string(size() - kMostShown) + " more";
  throw Error(text);
}

PromptSource read_prompt_source(const PromptInput& input, const std::string& prompt_key, Mistakes& mistakes,
                                bool lora_tags) {
  EntryList list(prompt_key, mistakes, lora_tags);
  if (input.is_folder) {
    refuse_prompt_key(list);
    read_folder(input, list);
    return list.take();
  }
  const std::string& text = input.files.front().text;
  const Form form = form_of(text, input.extension);
  if (form == Form::kJsonLines) {
    read_json_lines(text, list);
  } else if (form == Form::kJson || form == Form::kYaml) {
    parse(text, 1, form == Form::kYaml, mistakes, [&](const LocatedJson& root) { read_json_prompts(root, list); });
  } else if (const auto separator = table_separator(text, input.extension, prompt_key)) {
    read_table(text, *separator, list);
  } else {
    refuse_prompt_key(list);
    read_text_prompts(text, list);
  }
  return list.take();
}

}  // namespace tessera
