#include "batch/prompt_text.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "core/error.h"
#include "core/text.h"
#include "core/utf8.h"
#include "pipelines/parameters_text.h"

namespace tessera {
namespace {

constexpr std::string_view kNegative = "Negative prompt:";

/// "Steps: 20, ..."
bool is_settings_line(std::string_view line) {
  constexpr std::string_view kSteps = "Steps: ";
  if (!line.starts_with(kSteps)) return false;
  const size_t end = line.find_first_not_of("0123456789", kSteps.size());
  return end != kSteps.size() && end != std::string_view::npos && line[end] == ',';
}

/// Calls `visit` with every line, without the blanks around it, and its number.
template <class Visit>
void for_each_line(std::string_view text, const Visit& visit) {
  int64_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    visit(trimmed(text.substr(start, end - start)), number);
    start = end + 1;
  }
}

class TextReader {
 public:
  explicit TextReader(EntryList& list) : list_(list), mistakes_(list.mistakes()), reader_(list.reader()) {}

  /// A prompt a line.
  void line(const std::string& text, int64_t number) {
    if (text.empty() || text[0] == '#' || list_.full()) return;
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = number;
    if (text.starts_with("--"))
      script_line(entry, text);
    else
      tagged_line(entry, text);
    list_.add(std::move(entry), before);
  }

  /// Lines of which the last ones are AUTOMATIC1111's; `id` may be "".
  void parameters(const std::string& text, int64_t number, const std::string& id = "") {
    if (list_.full()) return;
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = number;
    if (!id.empty()) entry.id = id;
    try {
      const bool complete = is_settings_line(text.substr(text.rfind('\n') + 1));  // npos + 1 is 0
      take(entry, complete ? job_from_parameters(text, "this prompt", list_.source().notes, list_.lora_tags())
                           : negative_job(text));
    } catch (const Error& error) {
      mistakes_.add(number, error.what());
    }
    list_.add(std::move(entry), before);
  }

  void whole(const std::string& text, int64_t number, const std::string& id) {
    if (text.starts_with(kNegative) || text.find("\n" + std::string(kNegative)) != std::string::npos ||
        is_settings_line(text.substr(text.rfind('\n') + 1)))
      return parameters(text, number, id);
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = number;
    entry.id = id;
    if (text.empty()) mistakes_.add(number, "the file is empty; want a prompt");
    reader_.set(entry.own, "prompt", text, number);
    list_.add(std::move(entry), before);
  }

 private:
  /// A prompt and its negative prompt, without a line of settings.
  static Job negative_job(const std::string& text) {
    Job job;
    const size_t mark = text.starts_with(kNegative) ? 0 : text.find("\n" + std::string(kNegative));
    job.prompt = trimmed(text.substr(0, mark));
    job.negative_prompt = trimmed(text.substr(text.find(kNegative, mark) + kNegative.size()));
    return job;
  }

  /// What a job says beyond an empty one.
  void take(PromptEntry& entry, const Job& job) {
    if (job.prompt.empty()) throw Error("settings without a prompt; the line before them holds it");
    const nlohmann::ordered_json said = recipe_json(job), assumed = recipe_json(Job{});
    for (const auto& [key, value] : said.items())
      if (!assumed.contains(key) || assumed[key] != value)
        reader_.set(entry.own, key, value.is_string() ? value.get<std::string>() : value.dump(), entry.line);
  }

  struct Word {
    std::string text;
    bool quoted;
  };

  /// Words as a shell splits them: quotes at the beginning of a word hold spaces together, a backslash takes the next
  /// character as it is.
  std::vector<Word> words_of(const std::string& line, int64_t number) {
    std::vector<Word> words;
    bool open = false;
    char quote = 0;
    for (size_t i = 0; i < line.size(); ++i) {
      const char c = line[i];
      if (!open && (c == ' ' || c == '\t')) continue;
      if (!open) words.push_back({"", c == '"' || c == '\''});
      const bool begins_quote = !open && words.back().quoted;
      open = true;
      if (begins_quote) {
        quote = c;
      } else if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
        words.back().text += line[++i];
      } else if (quote ? c == quote : c == ' ' || c == '\t') {
        open = quote != 0 && i + 1 < line.size() && line[i + 1] != ' ' && line[i + 1] != '\t';
        quote = 0;
      } else {
        words.back().text += c;
      }
    }
    if (quote) mistakes_.add(number, std::string("a quote ") + quote + " is not closed");
    return words;
  }

  /// A1111's script: `--prompt a cat --steps 20`, where a value goes up to the next name; it makes n_iter times
  /// batch_size pictures.
  void script_line(PromptEntry& entry, const std::string& line) {
    const std::vector<Word> words = words_of(line, entry.line);
    const auto is_name = [](const Word& word) {
      return !word.quoted && word.text.size() > 2 && word.text.starts_with("--") &&
             std::isalpha(static_cast<unsigned char>(word.text[2]));
    };
    if (words.empty() || !is_name(words.front())) return mistakes_.add(entry.line, "want --name value pairs");
    std::vector<std::string> counts;
    for (auto word = words.begin(); word != words.end();) {
      const std::string name = word->text.substr(2);
      const auto end = std::find_if(word + 1, words.end(), is_name);
      if (end == word + 1) {
        mistakes_.add(entry.line, "want --name value pairs, got \"--" + shortened(name, 60) + "\" without a value");
      } else {
        const std::string value = joined(
            std::vector<Word>(word + 1, end), " ", [](const Word& part) -> const auto& { return part.text; });
        if (name == "batch_size" || name == "n_iter")
          counts.push_back(value);
        else
          reader_.set(entry.own, name, value, entry.line);
      }
      word = end;
    }
    for (const std::string& count : counts) reader_.set(entry.own, "count", count, entry.line);
    multiply_counts(entry);
  }

  void multiply_counts(PromptEntry& entry) {
    const auto most = static_cast<int64_t>(find_job_option("count").high);
    int64_t product = 1;
    for (const PromptSetting& setting : entry.own.settings) {
      if (setting.option->name != "count") continue;
      Job counted;
      set_job_option(counted, *setting.option, setting.value);
      product *= counted.count;  // of two numbers up to `most`
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
        {"w", "width"},           {"h", "height"},    {"f", "frames"},     {"d", "seed"},
        {"s", "steps"},           {"g", "cfg_scale"}, {"l", "cfg_scale"},  {"fs", "flow_shift"},
        {"n", "negative_prompt"}, {"i", "image"},     {"ei", "last_image"}};
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
      const auto letter = letters.find(name);
      reader_.set(entry.own, letter == letters.end() ? name : letter->second,
                  trimmed(std::string_view(tag).substr(space)), entry.line);
    }
  }

  EntryList& list_;
  Mistakes& mistakes_;
  SettingReader& reader_;
};

/// Text with AUTOMATIC1111's lines: a line of settings or an empty one ends a prompt.
void read_blocks(std::string_view text, EntryList& list) {
  TextReader reader(list);
  std::vector<std::pair<std::string, int64_t>> block;
  const auto end_block = [&] {
    const auto is_a1111 = [](const auto& line) {
      return line.first.starts_with(kNegative) || is_settings_line(line.first);
    };
    const auto first = std::find_if(block.begin(), block.end(), is_a1111);
    if (first == block.end()) {
      for (const auto& [line, number] : block) reader.line(line, number);
    } else {
      if (first - block.begin() > 1)
        list.source().notes.push_back("lines " + std::to_string(block.front().second) + " to " +
                                      std::to_string((first - 1)->second) +
                                      " are one prompt, to which the settings on line " +
                                      std::to_string(first->second) + " belong; an empty line would part them");
      reader.parameters(joined(
                            block, "\n", [](const auto& line) -> const auto& { return line.first; }),
                        block.front().second);
    }
    block.clear();
  };
  for_each_line(text, [&](std::string line, int64_t number) {
    if (line.starts_with('#')) return;
    if (!line.empty()) block.emplace_back(line, number);
    if (line.empty() || is_settings_line(line)) end_block();
  });
  end_block();
}

}  // namespace

void read_text_prompts(std::string_view text, EntryList& list) {
  bool blocks = false;
  for_each_line(text, [&](const std::string& line, int64_t) {
    blocks = blocks || line.starts_with(kNegative) || is_settings_line(line);
  });
  if (blocks) return read_blocks(text, list);
  TextReader reader(list);
  for_each_line(text, [&](const std::string& line, int64_t number) { reader.line(line, number); });
}

void read_whole_prompt(const std::string& text, int64_t line, const std::string& id, EntryList& list) {
  TextReader(list).whole(trimmed(text), line, id);
}

}  // namespace tessera
