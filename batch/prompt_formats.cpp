#include "batch/prompt_formats.h"

#include <algorithm>
#include <map>

#include "batch/prompt_settings.h"
#include "core/error.h"
#include "core/located_yaml.h"
#include "core/text.h"

namespace tessera {
namespace {

constexpr size_t kMostShown = 100, kMostEntries = 1000000;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::string trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

/// Calls `visit` with every line that is not blank and its number.
template <class Visit>
void for_each_line(std::string_view text, const Visit& visit) {
  int64_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string line = trimmed(text.substr(start, end - start));
    if (!line.empty()) visit(line, number);
    start = end + 1;
  }
}

/// A class is what class-conditional models have for a prompt.
bool has_prompt(const PromptSettings& settings) {
  const auto is_prompt = [](const auto& setting) {
    return setting.option->name == "prompt" || setting.option->name == "class";
  };
  return std::any_of(settings.settings.begin(), settings.settings.end(), is_prompt) ||
         std::any_of(settings.axes.begin(), settings.axes.end(), is_prompt);
}

/// Turns the forms into entries.
class FormatReader {
 public:
  explicit FormatReader(Mistakes& mistakes) : mistakes_(mistakes), reader_(source_, mistakes) {}

  PromptSource take() { return std::move(source_); }

  void json(const LocatedJson& root) {
    if (root.is_array()) return items(root);
    if (!root.is_object()) return mistakes_.add(root.line, "want an object or a list of prompts, got " + root.shown());
    if (root.find("prompts")) return ours(root);
    if (root.find("samples")) return samples(root);
    if (const LocatedJson* request = root.find("request"); request && request->is_object())
      return fast_video(root, *request);
    if (root.find("version") || root.find("defaults"))
      return mistakes_.add(root.line, "the list \"prompts\" is missing");
    const bool all_text =
        std::all_of(root.values.begin(), root.values.end(), [](const auto& v) { return v.is_text(); });
    if (root.find("prompt") || root.find("prompt_en") || !all_text) return item(root);
    for (size_t i = 0; i < root.keys.size(); ++i) named(root.keys[i], root.values[i]);
  }

  void item(const LocatedJson& value) {
    if (full_ || mistakes_.full()) return;
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = value.line;
    if (value.is_text()) {
      reader_.set(entry.own, "prompt", value.text(), value.line);
    } else if (value.is_object()) {
      reader_.set_all(entry.own, value, &entry);
    } else {
      return mistakes_.add(value.line, "want a prompt (text) or an object with \"prompt\", got " + value.shown());
    }
    add(std::move(entry), before);
  }

  void text_line(const std::string& line, int64_t number) {
    if (line[0] == '#' || full_ || mistakes_.full()) return;
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = number;
    if (line.rfind("--", 0) == 0)
      script_line(entry, line);
    else
      tagged_line(entry, line);
    add(std::move(entry), before);
  }

 private:
  /// Keeps an entry unless a mistake was found since there were `before` of them.
  void add(PromptEntry entry, size_t before) {
    if (mistakes_.size() != before) return;
    full_ = source_.entries.size() >= kMostEntries;
    if (full_)
      return mistakes_.add(entry.line, "more than " + std::to_string(kMostEntries) + " prompts; split the file");
    if (!has_prompt(entry.own) && !has_prompt(source_.defaults))
      return mistakes_.add(entry.line, "no \"prompt\" (or \"class\") here");
    source_.entries.push_back(std::move(entry));
  }

  void items(const LocatedJson& list) {
    for (const LocatedJson& value : list.values) item(value);
  }

  void ours(const LocatedJson& root) {
    if (const LocatedJson* defaults = root.find("defaults")) {
      if (defaults->is_object())
        reader_.set_all(source_.defaults, *defaults, nullptr, true);
      else
        mistakes_.add(defaults->line, "\"defaults\" wants an object, got " + defaults->shown());
    }
    const std::vector<std::string> known = {"version", "defaults", "prompts", "$schema"};
    for (size_t i = 0; i < root.keys.size(); ++i) {
      const std::string& key = root.keys[i];
      const LocatedJson& value = root.values[i];
      if (key == "version" && value.scalar != 1)
        mistakes_.add(value.line, "\"version\" must be 1, got " + value.shown());
      if (std::find(known.begin(), known.end(), key) == known.end())
        mistakes_.add(value.line, "unknown key \"" + key + "\"" + suggestion(key, known));
      if (std::find(root.keys.begin(), root.keys.begin() + static_cast<std::ptrdiff_t>(i), key) !=
          root.keys.begin() + static_cast<std::ptrdiff_t>(i))
        mistakes_.add(value.line, "\"" + key + "\" is given twice");
    }
    const LocatedJson& prompts = *root.find("prompts");
    if (!prompts.is_array()) return mistakes_.add(prompts.line, "\"prompts\" wants a list, got " + prompts.shown());
    items(prompts);
  }

  /// EveryDream: what stands beside "samples" holds for each of them.
  void samples(const LocatedJson& root) {
    LocatedJson defaults = root;
    const auto at = std::find(defaults.keys.begin(), defaults.keys.end(), "samples") - defaults.keys.begin();
    const LocatedJson list = defaults.values[static_cast<size_t>(at)];
    defaults.keys.erase(defaults.keys.begin() + at);
    defaults.values.erase(defaults.values.begin() + at);
    reader_.set_all(source_.defaults, defaults, nullptr, true);
    if (!list.is_array()) return mistakes_.add(list.line, "\"samples\" wants a list, got " + list.shown());
    items(list);
  }

  /// FastVideo: how its generator is set up, and one request with a prompt or a list of them.
  void fast_video(const LocatedJson& root, const LocatedJson& request) {
    for (size_t i = 0; i < root.keys.size(); ++i) {
      if (root.keys[i] == "generator")
        generator(root.values[i]);
      else if (root.keys[i] != "request")
        mistakes_.add(root.values[i].line, "unknown key \"" + root.keys[i] + "\" beside \"generator\" and \"request\"");
    }
    for (size_t i = 0; i < request.keys.size(); ++i) request_member(request.keys[i], request.values[i]);
    const LocatedJson* prompt = request.find("prompt");
    if (!prompt || prompt->is_null()) return mistakes_.add(request.line, "no \"prompt\" in \"request\"");
    if (!prompt->is_array()) return item(*prompt);
    items(*prompt);
  }

  void generator(const LocatedJson& setup) {
    if (!setup.is_object()) return mistakes_.add(setup.line, "\"generator\" wants an object, got " + setup.shown());
    for (size_t i = 0; i < setup.keys.size(); ++i) {
      const LocatedJson& value = setup.values[i];
      if (setup.keys[i] == "model_path" && value.is_text())
        reader_.set(source_.defaults, "model", value.text(), value.line, true);
      else
        reader_.ignore("generator." + setup.keys[i]);
    }
  }

  void request_member(const std::string& key, const LocatedJson& value) {
    if (key == "prompt" || value.is_null()) return;
    if (key == "negative_prompt" && value.is_text())
      reader_.set(source_.defaults, key, value.text(), value.line, true);
    else if (key == "sampling" && value.is_object())
      reader_.set_all(source_.defaults, value, nullptr, true);
    else if (key == "inputs" && value.is_object())
      request_inputs(value);
    else
      reader_.ignore("request." + key);
  }

  void request_inputs(const LocatedJson& inputs) {
    for (size_t i = 0; i < inputs.keys.size(); ++i) {
      if (inputs.values[i].is_null()) continue;
      const std::string& key = inputs.keys[i];
      mistakes_.add(inputs.values[i].line, key == "prompt_path"
                                               ? "\"prompt_path\": give that file itself to tessera batch"
                                               : "\"" + key + "\": making videos from other inputs is not supported");
    }
  }

  /// MHLA's and Sana's {"name": "prompt"}.
  void named(const std::string& key, const LocatedJson& value) {
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = value.line;
    entry.id = key;
    const std::string prompt = value.text();
    if (prompt.find("<image>") != std::string::npos)
      return mistakes_.add(value.line, "\"" + key + "\": making videos from images (<image>) is not supported");
    reader_.set(entry.own, "prompt", prompt, value.line);
    add(std::move(entry), before);
  }

  /// Words as a shell splits them: quotes hold spaces together, a backslash takes the next character as it is.
  std::vector<std::string> shell_words(const std::string& line, int64_t number) {
    std::vector<std::string> words;
    std::string word;
    bool open = false;
    char quote = 0;
    for (size_t i = 0; i < line.size(); ++i) {
      const char c = line[i];
      if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
        word += line[++i];
        open = true;
      } else if (quote ? c == quote : c == '"' || c == '\'') {
        quote = quote ? 0 : c;
        open = true;
      } else if (!quote && is_blank(c)) {
        if (open) words.push_back(std::move(word));
        word.clear();
        open = false;
      } else {
        word += c;
        open = true;
      }
    }
    if (open) words.push_back(std::move(word));
    if (quote) mistakes_.add(number, std::string("a quote ") + quote + " is not closed");
    return words;
  }

  /// A1111's script: `--prompt "a cat" --steps 20`; it makes n_iter times batch_size pictures.
  void script_line(PromptEntry& entry, const std::string& line) {
    const std::vector<std::string> words = shell_words(line, entry.line);
    std::vector<std::string> counts;
    for (size_t i = 0; i < words.size(); i += 2) {
      if (words[i].rfind("--", 0) != 0 || i + 1 >= words.size()) {
        mistakes_.add(entry.line, "want --name value pairs, got \"" + words[i] + "\"" +
                                      (i + 1 >= words.size() ? " without a value" : ""));
        return;
      }
      const std::string name = words[i].substr(2);
      if (name == "batch_size" || name == "n_iter")
        counts.push_back(words[i + 1]);
      else
        reader_.set(entry.own, name, words[i + 1], entry.line);
    }
    for (const std::string& count : counts) reader_.set(entry.own, "count", count, entry.line);
    multiply_counts(entry);
  }

  void multiply_counts(PromptEntry& entry) {
    const auto most = static_cast<int64_t>(find_job_option("count").high);
    int64_t product = 1;
    for (const PromptSetting& setting : entry.own.settings) {
      if (setting.option->name != "count") continue;
      product *= std::stoll(setting.value);  // of two numbers up to `most`
      if (product > most)
        return mistakes_.add(entry.line, "\"n_iter\" times \"batch_size\" is more than " + std::to_string(most) +
                                             ", the most outputs of one prompt; split the line");
    }
    for (PromptSetting& setting : entry.own.settings)
      if (setting.option->name == "count") setting.value = std::to_string(product);
  }

  /// A prompt, or musubi's and kohya's `a cat --w 832 --h 480 --d 1 --n blurry`.
  void tagged_line(PromptEntry& entry, const std::string& line) {
    static const std::map<std::string, std::string> letters = {
        {"w", "width"},     {"h", "height"},    {"f", "frames"},      {"d", "seed"},           {"s", "steps"},
        {"g", "cfg_scale"}, {"l", "cfg_scale"}, {"fs", "flow_shift"}, {"n", "negative_prompt"}};
    const auto tag_at = [&](size_t from) {
      size_t at = line.find(" --", from);
      while (at != std::string::npos &&
             !(at + 3 < line.size() && std::isalpha(static_cast<unsigned char>(line[at + 3]))))
        at = line.find(" --", at + 1);
      return std::min(at, line.size());
    };
    size_t end = tag_at(0);
    reader_.set(entry.own, "prompt", trimmed(std::string_view(line).substr(0, end)), entry.line);
    while (end < line.size()) {
      const size_t start = end + 3;
      end = tag_at(start);
      const std::string tag = line.substr(start, end - start);
      const size_t space = std::min(tag.find(' '), tag.size());
      const std::string name = tag.substr(0, space);
      if (name == "i") {
        mistakes_.add(entry.line, "\"--i\": making videos from images is not supported");
        continue;
      }
      const auto letter = letters.find(name);
      reader_.set(entry.own, letter == letters.end() ? name : letter->second,
                  trimmed(std::string_view(tag).substr(space)), entry.line);
    }
  }

  Mistakes& mistakes_;
  PromptSource source_;
  SettingReader reader_;
  bool full_ = false;
};

/// One JSON value a line, several lines.
bool looks_like_json_lines(std::string_view text) {
  int64_t whole = 0, lines = 0;
  for_each_line(text, [&](const std::string& line, int64_t) {
    if (++lines > 2) return;
    whole += nlohmann::json::accept(line) ? 1 : 0;
  });
  return lines >= 2 && whole == 2 && !nlohmann::json::accept(text);
}

}  // namespace

void Mistakes::throw_if_any(const std::filesystem::path& path) const {
  if (found_.empty()) return;
  auto sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text =
      path.string() + ": " +
      (full() ? std::to_string(size()) + " or more mistakes" : counted(static_cast<int64_t>(size()), "mistake")) +
      "; nothing was rendered";
  for (size_t i = 0; i < std::min(sorted.size(), kMostShown); ++i)
    text += "\n  line " + std::to_string(sorted[i].first) + ": " + sorted[i].second;
  if (size() > kMostShown) text += "\n  and " + std::to_string(size() - kMostShown) + " more";
  throw Error(text);
}

PromptSource read_prompt_source(std::string_view text, const std::string& extension, Mistakes& mistakes) {
  FormatReader reader(mistakes);
  const std::string start = trimmed(text.substr(0, 4096)).substr(0, 1);
  const bool lines = extension == ".jsonl" || extension == ".ndjson";
  const bool yaml = extension == ".yaml" || extension == ".yml";
  const bool is_json = lines || yaml || extension == ".json" || (extension != ".txt" && (start == "{" || start == "["));
  if (!is_json) {
    for_each_line(text, [&](const std::string& line, int64_t number) { reader.text_line(line, number); });
    return reader.take();
  }
  const auto parse = [&](std::string_view part, int64_t line, auto&& use) {
    try {
      use(yaml ? parse_located_yaml(part) : parse_located_json(part, line));
    } catch (const SyntaxError& error) {
      mistakes.add(error.line, (yaml ? "not valid YAML: " : "not valid JSON: ") + error.problem);
    }
  };
  if (yaml)
    parse(text, 1, [&](const LocatedJson& root) { reader.json(root); });
  else if (lines || looks_like_json_lines(text))
    for_each_line(text, [&](const std::string& line, int64_t number) {
      if (!mistakes.full()) parse(line, number, [&](const LocatedJson& value) { reader.item(value); });
    });
  else
    parse(text, 1, [&](const LocatedJson& root) { reader.json(root); });
  return reader.take();
}

}  // namespace tessera
