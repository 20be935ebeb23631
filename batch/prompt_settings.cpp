#include "batch/prompt_settings.h"

#include <algorithm>
#include <map>
#include <set>

#include "batch/prompt_keys.h"
#include "core/error.h"
#include "core/text.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

/// Names that only prompt files of other programs use -> ours.
const std::map<std::string, std::string>& foreign_names() {
  static const std::map<std::string, std::string> names = {
      {"prompt_en", "prompt"},  // VBench
      {"neg_prompt", "negative_prompt"},
      {"sampler_name", "sampler"},   // A1111
      {"n_iter", "count"},           // A1111
      {"sample_method", "sampler"},  // sd.cpp server
      {"txt_cfg", "cfg_scale"},      // sd.cpp server
      {"num_steps", "steps"},        // EveryDream
  };
  return names;
}

/// Keys that other programs write and that do not change a render here.
const std::set<std::string>& meaningless_keys() {
  static const std::set<std::string> keys = {"dimension",
                                             "auxiliary_info",  // VBench
                                             "show_progress_bars",
                                             "generate_samples_every_n_steps",  // EveryDream
                                             "generate_pretrain_samples",
                                             "random_captions",
                                             "batch_size",  // EveryDream
                                             "img_cfg",
                                             "distilled_guidance",
                                             "slg",
                                             "output_format",
                                             "$schema",  // sd.cpp server, editors
                                             "data_type",
                                             "save_video",
                                             "return_frames",
                                             "batch_cfg",
                                             "use_kv_cache",
                                             "num_frames_round_down"};  // FastVideo
  return keys;
}

/// Keys that member() takes besides the options: those of ours, and those of other programs that need more than a name.
bool is_special_key(const std::string& key) {
  static const std::set<std::string> keys = {"id", "seeds", "grid", "sample_params", "cfgs"};
  return keys.count(key) > 0;
}

std::string underscored(std::string key) {
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

std::string our_name(const std::string& key) {
  const auto found = foreign_names().find(underscored(key));
  return found == foreign_names().end() ? key : found->second;
}

/// Every spelling that a file may use, for the nearest match.
std::vector<std::string> known_keys(bool in_defaults) {
  std::vector<std::string> keys = prompt_entry_keys();
  for (const JobOption& option : job_options()) {
    if (!allowed_in_prompt_file(option, in_defaults)) continue;
    keys.push_back(json_key(option));
    for (const std::string& alias : option.aliases) keys.push_back(underscored(alias));
  }
  for (const auto& [name, ours] : foreign_names()) keys.push_back(name);
  return keys;
}

/// The key that `key` is probably meant as: it has as many words, and each resembles the other's. "" when none is.
std::string misspelled(const std::string& key, const std::vector<std::string>& known) {
  const auto words = [](const std::string& text) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
      if (c == '_')
        parts.emplace_back();
      else
        parts.back() += c;
    }
    return parts;
  };
  const std::string near = nearest_match(key, known);
  const std::vector<std::string> mine = words(key), theirs = words(near);
  if (near.empty() || mine.size() != theirs.size()) return "";
  for (size_t i = 0; i < mine.size(); ++i)
    if (nearest_match(mine[i], {theirs[i]}).empty()) return "";
  return near;
}

bool is_lora_list(const JobOption& option) {
  return std::holds_alternative<std::vector<LoraUse> Job::*>(option.field);
}

bool is_picture(const JobOption& option) {
  return std::holds_alternative<InputPicture Job::*>(option.field);
}

const JobOption* find_option(const std::string& key) {
  try {
    return &find_job_option(our_name(key));
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace

bool allowed_in_prompt_file(const JobOption& option, bool in_defaults) {
  if (option.name == "json" || option.name == "quiet") return false;
  return in_defaults || (option.name != "model" && option.name != "device" && option.name != "dtype");
}

const std::vector<std::string>& prompt_entry_keys() {
  static const std::vector<std::string> keys = {"id", "seeds", "grid"};
  return keys;
}

const JobOption* SettingReader::option_of(const std::string& key, int64_t line, bool in_defaults) {
  const JobOption* option = find_option(key);
  if (!option) {
    const std::string near = nearest_match(underscored(key), known_keys(in_defaults));
    mistakes_.add(line, "unknown key \"" + key + "\"" +
                            (near.empty() ? "; docs/batch.md lists the keys" : " (did you mean \"" + near + "\"?)"));
    return nullptr;
  }
  if (allowed_in_prompt_file(*option, in_defaults)) return option;
  mistakes_.add(line, "\"" + key + "\" is for the whole run: set it " +
                          (allowed_in_prompt_file(*option, true) ? "in \"defaults\" or with --" : "with --") +
                          option->name);
  return nullptr;
}

bool SettingReader::check(const JobOption& option, const std::string& key, const std::string& value, int64_t line) {
  try {
    Job scratch;
    set_job_option(scratch, option, value);
    return true;
  } catch (const Error& e) {
    std::string what = e.what();
    const std::string flag = "--" + option.name;
    if (what.rfind(flag, 0) == 0) what = "\"" + key + "\"" + what.substr(flag.size());
    mistakes_.add(line, what);
    return false;
  }
}

void SettingReader::set(PromptSettings& out, const std::string& key, const std::string& value, int64_t line,
                        bool in_defaults) {
  const JobOption* option = option_of(key, line, in_defaults);
  if (option && check(*option, key, value, line)) out.settings.push_back({option, value, line});
}

std::optional<std::string> SettingReader::value_of(const JobOption& option, const std::string& key,
                                                   const LocatedJson& value) {
  const bool pair = value.is_array() && std::holds_alternative<SizeField>(option.field) && value.values.size() == 2;
  std::string text;
  if (pair && value.values[0].scalar.is_number() && value.values[1].scalar.is_number()) {
    text = value.values[0].text() + "x" + value.values[1].text();
  } else if (option.list && value.is_array()) {
    text = joined(value.values, ",", [](const LocatedJson& level) { return level.shown(); });
  } else if (value.kind != LocatedJson::Kind::kScalar && is_lora_list(option)) {
    text = (value.is_array() ? value.plain() : nlohmann::ordered_json::array({value.plain()})).dump();
  } else if (value.is_object() && is_picture(option)) {
    text = value.plain().dump();
  } else if (value.kind != LocatedJson::Kind::kScalar || value.is_null()) {
    mistakes_.add(value.line, "\"" + key + "\" must be a string, a number, true or false, got " + value.shown());
    return {};
  } else {
    text = value.text();
  }
  if (text.find('\0') != std::string::npos) {
    mistakes_.add(value.line, "\"" + key + "\" holds a NUL character");
    return {};
  }
  if (!check(option, key, text, value.line)) return {};
  return text;
}

void SettingReader::axis(PromptSettings& out, const std::string& key, const LocatedJson& values, bool in_defaults) {
  const JobOption* option = option_of(key, values.line, in_defaults);
  if (!option) return;
  if (!option->recipe && !std::holds_alternative<SizeField>(option->field)) {
    mistakes_.add(values.line, "\"" + key + "\" takes one value, not a list");
    return;
  }
  if (!values.is_array() || values.values.empty()) {
    mistakes_.add(values.line, "\"" + key + "\" wants a list of values, got " +
                                   (values.is_array() ? std::string("an empty one") : values.shown()));
    return;
  }
  PromptAxis axis{.option = option, .values = {}, .line = values.line};
  for (const LocatedJson& value : values.values)
    if (const auto text = value_of(*option, key, value)) axis.values.push_back(*text);
  if (axis.values.size() == values.values.size()) out.axes.push_back(std::move(axis));
}

void SettingReader::grid(PromptSettings& out, const LocatedJson& object, bool in_defaults) {
  if (!object.is_object()) {
    mistakes_.add(object.line, "\"grid\" wants an object of lists, {\"seed\": [1, 2], \"cfg_scale\": [3, 5]}, got " +
                                   object.shown());
    return;
  }
  for (size_t i = 0; i < object.keys.size(); ++i)
    axis(out, object.keys[i] == "seeds" ? "seed" : object.keys[i], object.values[i], in_defaults);
}

void SettingReader::ignore(const std::string& key) {
  const std::string note = "\"" + key + "\" has no meaning here and is left out";
  if (std::find(source_.notes.begin(), source_.notes.end(), note) == source_.notes.end()) source_.notes.push_back(note);
}

/// The server's name of a curve of noise levels; "default" leaves it to the model.
void SettingReader::scheduler(PromptSettings& out, const LocatedJson& value) {
  const std::string name = value.is_text() ? value.text() : value.shown();
  if (name == "default") return;
  try {
    find_sigma_curve(name);
    set(out, "scheduler", name, value.line);
  } catch (const Error& error) {
    mistakes_.add(value.line, std::string("\"scheduler\": ") + error.what());
  }
}

/// The server takes such levels as they are: without a shift, and they set the number of steps.
void SettingReader::custom_sigmas(PromptSettings& out, const LocatedJson& levels) {
  const auto overruled = [](const PromptSetting& setting) {
    return setting.option->name == "flow-shift" || setting.option->name == "steps";
  };
  if (std::erase_if(out.settings, overruled) > 0)
    source_.notes.emplace_back(
        "\"custom_sigmas\" set steps and shift; \"sample_steps\" and \"flow_shift\" beside them "
        "have no effect");
  if (const auto text = value_of(find_job_option("sigmas"), "custom_sigmas", levels)) {
    out.settings.push_back({&find_job_option("sigmas"), *text, levels.line});
    set(out, "flow_shift", "1", levels.line);
  }
}

/// The server's nested settings; its "scheduler" is a curve of noise levels, not a solver.
void SettingReader::sample_params(PromptSettings& out, const LocatedJson& object) {
  const LocatedJson* levels = nullptr;
  for (size_t i = 0; i < object.keys.size(); ++i) {
    const std::string& key = object.keys[i];
    const LocatedJson& value = object.values[i];
    if (value.is_null()) continue;
    if (key == "scheduler") {
      scheduler(out, value);
    } else if (key == "custom_sigmas") {
      if (!value.is_array() || !value.values.empty()) levels = &value;
    } else if (key == "guidance" && value.is_object()) {
      sample_params(out, value);
    } else {
      member(out, key, value, false);
    }
  }
  if (levels) custom_sigmas(out, *levels);
}

/// Keys of other programs that need more than another name; false when `key` is none of them.
bool SettingReader::foreign(PromptSettings& out, const std::string& key, const LocatedJson& value, bool in_defaults) {
  if (meaningless_keys().count(key)) {
    ignore(key);
  } else if (key == "sample_params" && value.is_object()) {
    sample_params(out, value);
  } else if (key == "cfgs") {
    axis(out, "cfg_scale", value, in_defaults);
  } else {
    return false;
  }
  return true;
}

void SettingReader::member(PromptSettings& out, const std::string& key, const LocatedJson& value, bool in_defaults) {
  if (value.is_null() || foreign(out, key, value, in_defaults)) return;
  if (key == "grid") return grid(out, value, in_defaults);
  if (key == "seeds") return axis(out, "seed", value, in_defaults);
  const JobOption* option = option_of(key, value.line, in_defaults);
  if (!option) return;
  if (option->name == "seed" && value.is_array()) return axis(out, key, value, in_defaults);
  if (const auto text = value_of(*option, key, value)) out.settings.push_back({option, *text, value.line});
}

void SettingReader::set_all(PromptSettings& out, const LocatedJson& object, PromptEntry* entry, bool in_defaults) {
  std::set<std::string> seen;
  for (size_t i = 0; i < object.keys.size(); ++i) {
    const std::string& key = object.keys[i];
    const LocatedJson& value = object.values[i];
    const JobOption* option = find_option(key);
    if (!seen.insert(option ? option->name : underscored(key)).second) {
      mistakes_.add(value.line, "\"" + key + "\" is given twice (perhaps under another name)");
    } else if (key != "id") {
      member(out, key, value, in_defaults);
    } else if (!entry) {
      mistakes_.add(value.line, "\"id\" belongs to one prompt, not to \"defaults\"");
    } else {
      take_id(*entry, value);
    }
  }
}

void SettingReader::take_id(PromptEntry& entry, const LocatedJson& value) {
  if (value.is_text() || value.scalar.is_number_integer())
    entry.id = value.text();
  else if (!value.is_null())
    mistakes_.add(value.line, "\"id\" wants text, got " + value.shown());
}

SettingReader::KeyMeaning& SettingReader::meaning_of(const std::string& key, const RowColumns& columns) {
  const auto [found, fresh] = meanings_.try_emplace({key, columns});
  KeyMeaning& meaning = found->second;
  if (!fresh) return meaning;
  const std::string name = underscored(columns.is_table ? in_lower_case(key) : key);
  if (is_prompt_name(name) || meaningless_keys().count(name)) return meaning;
  const JobOption* option = find_option(name);
  const bool is_category = option && option->name == "class" && columns.is_table && columns.has_prompt;
  const bool is_shown = name == "image" && columns.is_table && columns.has_init_image;
  if (is_special_key(name) || (option && allowed_in_prompt_file(*option, false) && !is_category && !is_shown))
    meaning.own = name;
  else if (!option)
    meaning.near = misspelled(name, known_keys(false));
  return meaning;
}

void SettingReader::set_row(PromptEntry& entry, const LocatedJson& row, const RowForm& form) {
  const std::optional<size_t> prompt = find_prompt_key(row.keys, form.prompt_key);
  const auto is_init_image = [](const std::string& key) { return underscored(in_lower_case(key)) == "init_image"; };
  const RowColumns columns{.is_table = form.is_table,
                           .has_prompt = prompt.has_value(),
                           .has_init_image = std::any_of(row.keys.begin(), row.keys.end(), is_init_image)};
  std::set<std::string> seen;
  for (size_t i = 0; i < row.keys.size(); ++i) {
    const std::string& key = row.keys[i];
    const LocatedJson& value = row.values[i];
    KeyMeaning prompts{"prompt", "", false};
    KeyMeaning& meaning = i == prompt ? prompts : meaning_of(key, columns);
    const JobOption* option = meaning.own.empty() ? nullptr : find_option(meaning.own);
    if (!seen.insert(option ? option->name : meaning.own.empty() ? " " + key : meaning.own).second) {
      mistakes_.add(value.line, "\"" + key + "\" is given twice (perhaps under another name)");
    } else if (!meaning.near.empty()) {
      if (!form.is_table || !meaning.told)
        mistakes_.add(value.line, "unknown key \"" + key + "\" (did you mean \"" + meaning.near + "\"?)");
      meaning.told = true;
    } else if (meaning.own.empty()) {
      if (!meaning.told) source_.metadata_keys.push_back(key);
      meaning.told = true;
      entry.metadata[key] = value.plain();
    } else if (form.is_table && value.text().empty()) {
      continue;
    } else if (meaning.own == "id") {
      take_id(entry, value);
    } else {
      member(entry.own, meaning.own, value, false);
    }
  }
}

}  // namespace tessera
