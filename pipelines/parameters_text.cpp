#include "pipelines/parameters_text.h"

#include <algorithm>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

/// "Key: value" pairs between commas; commas inside quotes and brackets belong to the value.
std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  int depth = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') quoted = !quoted;
    if (quoted && c == '\\' && i + 1 < line.size()) {
      fields.back() += line.substr(i++, 2);
      continue;
    }
    if (!quoted && (c == '[' || c == '{')) ++depth;
    if (!quoted && (c == ']' || c == '}')) --depth;
    if (c == ',' && !quoted && depth <= 0)
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return fields;
}

/// Settings that say where a picture comes from and change nothing here.
bool is_origin(const std::string& key) {
  static const std::set<std::string> keys = {"model", "model hash", "vae",  "vae hash",     "version",
                                             "te",    "unet",       "user", "created date", "hashes",
                                             "rng",   "guidance",   "app",  "sampler rng"};
  return keys.count(key) > 0 || key.rfind("module ", 0) == 0;
}

/// Takes a trailing schedule such as " Karras" off a sampler's name, as older files have it.
std::string split_schedule(std::string& sampler) {
  const size_t space = sampler.rfind(' ');
  if (space == std::string::npos) return "";
  const std::string last = in_lower_case(sampler.substr(space + 1));
  static const std::set<std::string> names = {"karras", "exponential", "discrete", "simple", "default"};
  if (!names.count(last)) return "";
  sampler.resize(space);
  return last == "default" ? "" : last;
}

class ParametersReader {
 public:
  ParametersReader(const std::string& where, std::vector<std::string>& notes, bool lora_tags)
      : where_(where), notes_(notes), lora_tags_(lora_tags) {}

  Job read(const std::string& text) {
    const std::string whole = trimmed(text);
    const size_t start = whole.rfind('\n') + 1;  // npos + 1 is 0
    const std::string settings = whole.substr(start);
    if (settings.rfind("Steps:", 0) != 0)
      throw Error(where_ + ": its \"parameters\" end without a line \"Steps: ...\", so they are no recipe");
    prompts(trimmed(whole.substr(0, start)));
    for (const std::string& field : fields_of(settings)) {
      const size_t colon = field.find(':');
      if (trimmed(field).empty()) continue;
      if (colon == std::string::npos)
        refused_.push_back(trimmed(field));
      else
        setting(trimmed(field.substr(0, colon)), trimmed(field.substr(colon + 1)));
    }
    finish();
    return job_;
  }

 private:
  void prompts(const std::string& text) {
    const std::string mark = "Negative prompt:";
    size_t at = text.rfind(mark, 0) == 0 ? 0 : text.find("\n" + mark);
    if (at != std::string::npos) {
      job_.negative_prompt = trimmed(text.substr(text.find(mark, at) + mark.size()));
      job_.prompt = trimmed(text.substr(0, at));
    } else {
      job_.prompt = text;
    }
    if (job_.prompt.find("<lora:") != std::string::npos && !lora_tags_)
      refused_.emplace_back("a <lora:...> in its prompt (--lora-dir DIR loads it)");
    if (job_.prompt.find("<hypernet:") != std::string::npos) refused_.emplace_back("a <hypernet:...> in its prompt");
  }

  void set(const std::string& key, const std::string& value) {
    try {
      set_job_option(job_, find_job_option(key), value);
    } catch (const Error& error) {
      throw Error(where_ + ": " + error.what());
    }
  }

  void sampler(std::string value) {
    if (const std::string schedule = split_schedule(value); !schedule.empty()) set("scheduler", schedule);
    set("sampler", value);
  }

  /// Levels as the solver takes them, so without a shift and without the 0 at their end.
  void custom_sigmas(const std::string& value) {
    std::string levels;
    for (const char c : value)
      if (c != '[' && c != ']' && c != ' ') levels += c;
    set("sigmas", levels);
    set("flow-shift", "1");
    job_.steps.reset();
  }

  void setting(const std::string& name, std::string value) {
    const std::string key = in_lower_case(name);
    if (value.size() >= 2 && value.front() == '"') {
      const auto text = nlohmann::json::parse(value, nullptr, false);
      if (text.is_string()) value = text.get<std::string>();
    }
    if (key == "sampler") return sampler(value);
    if (key == "custom sigmas") return custom_sigmas(value);
    if (key == "schedule type")
      return in_lower_case(value) == "automatic" ? void() : set("scheduler", in_lower_case(value));
    if (key == "flow shift" && value == "dynamic") return;
    if (key == "eta" && std::atof(value.c_str()) == 0) return;
    if (key == "clip skip" && value == "1") return;
    if (is_origin(key)) return origin(key, value);
    if (key == "lora hashes" && lora_tags_) return;
    std::string option = key;
    std::replace(option.begin(), option.end(), ' ', '_');
    try {
      find_job_option(option);
    } catch (const Error&) {
      refused_.push_back("\"" + name + ": " + shortened(value, 40) + "\"");
      return;
    }
    if (option == "steps" && job_.sigmas) return;
    set(option, value);
  }

  void origin(const std::string& key, const std::string& value) {
    if (key == "version") version_ = value;
    if (key == "model") model_ = value;
    if (key == "rng" && in_lower_case(value) != "cpu") other_rng_ = true;
  }

  void finish() {
    if (!refused_.empty())
      throw Error(where_ + " was made with settings that tessera does not support: " + joined(refused_) +
                  "; pass prompt and settings as options instead");
    const bool ours = version_.rfind("tessera", 0) == 0;
    if (!ours)
      notes_.push_back("made by another program (" + (version_.empty() ? std::string("unnamed") : version_) +
                       "): its settings are used, but the picture will differ");
    if (!model_.empty() && model_ != "bundled")
      notes_.push_back("made with the model \"" + model_ + "\"; the bundled one is used unless --model is given");
    if (other_rng_) notes_.emplace_back("its noise came from another random generator");
  }

  const std::string& where_;
  std::vector<std::string>& notes_;
  bool lora_tags_;
  Job job_;
  std::vector<std::string> refused_;
  std::string version_, model_;
  bool other_rng_ = false;
};

}  // namespace

Job job_from_parameters(const std::string& text, const std::string& where, std::vector<std::string>& notes,
                        bool lora_tags) {
  return ParametersReader(where, notes, lora_tags).read(text);
}

}  // namespace tessera
