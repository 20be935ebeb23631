#include "batch/prompt_json.h"

#include <algorithm>

#include "batch/prompt_keys.h"
#include "core/error.h"

namespace tessera {
namespace {

/// Turns the forms into entries.
class JsonReader {
 public:
  explicit JsonReader(EntryList& list)
      : list_(list), mistakes_(list.mistakes()), source_(list.source()), reader_(list.reader()) {}

  void file(const LocatedJson& root) {
    if (root.is_array()) return rows(root.values);
    if (!root.is_object()) return mistakes_.add(root.line, "want an object or a list of prompts, got " + root.shown());
    if (const LocatedJson* prompts = root.find("prompts")) return ours(root, *prompts);
    if (root.find("samples")) return samples(root);
    if (const LocatedJson* request = root.find("request"); request && request->is_object())
      return fast_video(root, *request);
    if (root.find("version") || root.find("defaults"))
      return mistakes_.add(root.line, "the list \"prompts\" is missing");
    const bool single = root.find("prompt") || root.find("prompt_en") || root.find(list_.prompt_key());
    const auto all = [&](const auto& fits) { return std::all_of(root.values.begin(), root.values.end(), fits); };
    if (!single && all([](const LocatedJson& value) { return value.is_object(); })) return rows(root.values, root.keys);
    if (single || !all([](const LocatedJson& value) { return value.is_text(); })) return item(root);
    for (size_t i = 0; i < root.keys.size(); ++i) named(root.keys[i], root.values[i]);
  }

  /// Of a list, which may be that of another program: keys that are no options are its own.
  /// `names`, where there are any, are their ids.
  void rows(const std::vector<LocatedJson>& values, const std::vector<std::string>& names = {}) {
    if (!name_prompts(values)) return;
    for (size_t i = 0; i < values.size(); ++i) {
      const LocatedJson& value = values[i];
      if (!value.is_object()) {
        item(value);
        continue;
      }
      if (list_.full()) return;
      const size_t before = mistakes_.size();
      PromptEntry entry;
      entry.line = value.line;
      if (!names.empty()) entry.id = names[i];
      reader_.set_row(entry, value, {.prompt_key = list_.prompt_key()});
      list_.add(std::move(entry), before);
    }
  }

 private:
  void item(const LocatedJson& value) {
    if (list_.full()) return;
    const size_t before = mistakes_.size();
    PromptEntry entry;
    entry.line = value.line;
    if (value.is_text()) {
      reader_.set(entry.own, "prompt", value.text(), value.line);
    } else if (value.is_object()) {
      reader_.set_all(entry.own, list_.prompt_key().empty() ? value : with_prompt(value), &entry);
    } else {
      return mistakes_.add(value.line, "want a prompt (text) or an object with \"prompt\", got " + value.shown());
    }
    list_.add(std::move(entry), before);
  }

  /// The object with the key that --prompt-key names called "prompt".
  LocatedJson with_prompt(const LocatedJson& object) const {
    LocatedJson out = object;
    if (const auto prompt = find_prompt_key(out.keys, list_.prompt_key())) out.keys[*prompt] = "prompt";
    return out;
  }

  /// Whether any row has a prompt; otherwise one mistake says how to name its key.
  bool name_prompts(const std::vector<LocatedJson>& values) {
    const LocatedJson* first = nullptr;
    for (const LocatedJson& value : values) {
      if (!value.is_object() || value.keys.empty()) return true;
      const bool classes = list_.prompt_key().empty() && (value.find("class") || value.find("class_label") ||
                                                          value.find("class_labels") || value.find("grid"));
      if (classes || find_prompt_key(value.keys, list_.prompt_key())) return true;
      if (!first) first = &value;
    }
    if (!first) return true;
    std::vector<std::string> texts;
    for (const LocatedJson& value : first->values) texts.push_back(value.is_text() ? value.text() : "");
    mistakes_.add(first->line, no_prompt_key(first->keys, texts, list_.prompt_key(), "key"));
    return false;
  }

  void items(const LocatedJson& list) {
    for (const LocatedJson& value : list.values) item(value);
  }

  void ours(const LocatedJson& root, const LocatedJson& prompts) {
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
      if (key == "image_path" && inputs.values[i].is_text()) {
        reader_.set(source_.defaults, "image", inputs.values[i].text(), inputs.values[i].line, true);
        continue;
      }
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
      return mistakes_.add(value.line, "\"" + key + "\": a picture is named by \"image\", not by <image> in a prompt");
    reader_.set(entry.own, "prompt", prompt, value.line);
    list_.add(std::move(entry), before);
  }

  EntryList& list_;
  Mistakes& mistakes_;
  PromptSource& source_;
  SettingReader& reader_;
};

}  // namespace

void read_json_prompts(const LocatedJson& root, EntryList& list) {
  JsonReader(list).file(root);
}

void read_json_rows(const std::vector<LocatedJson>& rows, EntryList& list) {
  JsonReader(list).rows(rows);
}

}  // namespace tessera
