#include "batch/prompt_file.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/printable.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/utf8.h"
#include "pipelines/lora_tags.h"

namespace tessera {
namespace {

constexpr size_t kLongestName = 200, kLongestPath = 1000;  // bytes
constexpr int64_t kMostJobs = 1000000;

/// Adds a mistake for every line that is not UTF-8, of a folder for every file.
void check_utf8(const PromptInput& input, Mistakes& mistakes) {
  const std::string problem = "not UTF-8 (or a NUL byte); save the file as UTF-8";
  if (input.is_folder) {
    for (size_t i = 0; i < input.files.size(); ++i)
      if (!is_utf8_text(input.files[i].text)) mistakes.add(static_cast<int64_t>(i) + 1, problem);
    return;
  }
  const std::string& text = input.files.front().text;
  if (is_utf8_text(text)) return;
  int64_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (!is_utf8_text(std::string_view(text).substr(start, end - start))) mistakes.add(number, problem);
    start = end + 1;
  }
}

/// A value as part of a name: itself when it is short and plain, else its position in the list.
std::string value_name(const std::string& value, size_t position) {
  const bool plain = value.size() <= 24 && std::all_of(value.begin(), value.end(), [](unsigned char c) {
                       return std::isalnum(c) || c == '.' || c == '-' || c == '_';
                     });
  return plain ? value : std::to_string(position);
}

/// a/b.mp4 -> a/b_SUFFIX.mp4
std::string with_suffix(const std::string& path, const std::string& suffix) {
  if (path.empty() || suffix.empty()) return path;
  const std::filesystem::path whole = path;
  return (whole.parent_path() / (whole.stem().string() + suffix + whole.extension().string())).string();
}

Seed seed_of(const std::string& id) {
  return std::stoll(sha256(id).substr(0, 8), nullptr, 16);
}

/// Makes the paths of pictures, which are relative to `folder`, those of the program.
void place_pictures(PromptSettings& settings, const std::filesystem::path& folder) {
  const auto place = [&](const JobOption& option, std::string& value) {
    if (!std::holds_alternative<InputPicture Job::*>(option.field) || value.empty()) return;
    Job scratch;
    set_job_option(scratch, option, value);
    InputPicture picture = scratch.*std::get<InputPicture Job::*>(option.field);
    picture.path = (folder / picture.path).string();
    value = nlohmann::json({{"path", picture.path}, {"sha256", picture.sha256}}).dump();
  };
  for (PromptSetting& setting : settings.settings) place(*setting.option, setting.value);
  for (PromptAxis& axis : settings.axes)
    for (std::string& value : axis.values) place(*axis.option, value);
}

/// Turns the entries of a file into jobs.
class Expansion {
 public:
  Expansion(const PromptSource& source, const std::vector<std::pair<const JobOption*, std::string>>& flags,
            int64_t count, const std::filesystem::path& lora_dir, Mistakes& mistakes)
      : source_(source), flags_(flags), count_(count), lora_dir_(lora_dir), mistakes_(mistakes) {}

  std::vector<PromptJob> run() {
    int64_t total = 0;
    for (size_t i = 0; i < source_.entries.size(); ++i) {
      const PromptEntry& entry = source_.entries[i];
      const std::vector<PromptAxis> axes = axes_of(entry);
      Job job = base_job(entry);
      int64_t outputs = job.count;
      for (const PromptAxis& axis : axes)
        outputs = std::min<int64_t>(kMostJobs + 1, outputs * static_cast<int64_t>(axis.values.size()));
      total += outputs;
      if (total > kMostJobs) {
        mistakes_.add(entry.line,
                      "the file asks for more than " + std::to_string(kMostJobs) + " outputs from here on; split it");
        break;
      }
      std::string id = entry.id ? *entry.id : std::to_string(i);
      if (!entry.id) id.insert(0, id.size() < 6 ? 6 - id.size() : 0, '0');
      std::string problem;
      const std::string name = safe_name(id, problem);
      if (!problem.empty())
        mistakes_.add(entry.line, "the id " + shortened(nlohmann::json(id).dump(), 80) + " " + problem);
      expand(entry, job, problem.empty() ? name : "?" + std::to_string(i), "", axes, 0);  // ? is in no name
    }
    return std::move(jobs_);
  }

 private:
  /// Lists of the defaults that neither a flag nor the prompt replaces, then the prompt's own.
  std::vector<PromptAxis> axes_of(const PromptEntry& entry) const {
    std::vector<PromptAxis> axes;
    for (const PromptAxis& axis : source_.defaults.axes) {
      const auto same = [&](const auto& other) { return other.option == axis.option; };
      const auto flagged = [&](const auto& flag) { return flag.first == axis.option; };
      if (std::none_of(entry.own.settings.begin(), entry.own.settings.end(), same) &&
          std::none_of(entry.own.axes.begin(), entry.own.axes.end(), same) &&
          std::none_of(flags_.begin(), flags_.end(), flagged))
        axes.push_back(axis);
    }
    axes.insert(axes.end(), entry.own.axes.begin(), entry.own.axes.end());
    return axes;
  }

  Job base_job(const PromptEntry& entry) const {
    Job job;
    job.count = count_;
    for (const PromptSetting& setting : source_.defaults.settings) set_job_option(job, *setting.option, setting.value);
    for (const auto& [option, value] : flags_) set_job_option(job, *option, value);
    for (const PromptSetting& setting : entry.own.settings) set_job_option(job, *setting.option, setting.value);
    return job;
  }

  void expand(const PromptEntry& entry, const Job& job, const std::string& name, const std::string& suffix,
              const std::vector<PromptAxis>& axes, size_t depth) {
    if (depth == axes.size()) return count_out(entry, job, name, suffix);
    const PromptAxis& axis = axes[depth];
    for (size_t i = 0; i < axis.values.size(); ++i) {
      Job one = job;
      set_job_option(one, *axis.option, axis.values[i]);
      expand(entry, one, name, suffix + "_" + json_key(*axis.option) + value_name(axis.values[i], i), axes, depth + 1);
    }
  }

  /// The job with the LoRAs that its prompt names.
  Job with_lora_tags(const PromptEntry& entry, const Job& job) {
    Job made = job;
    if (lora_dir_.empty()) return made;
    try {
      take_lora_tags(made, lora_dir_);
    } catch (const Error& error) {
      mistakes_.add(entry.line, error.what());
    }
    return made;
  }

  void count_out(const PromptEntry& entry, const Job& asked, const std::string& name, const std::string& suffix) {
    const Job job = with_lora_tags(entry, asked);
    const bool has_seed = !job.seed.is_random();
    const Seed first = has_seed ? job.seed : seed_of(name);
    if (job.count > 1 && !job.latents.empty())
      return mistakes_.add(entry.line, "\"latents\" makes one output, not " + std::to_string(job.count));
    if (!first.reaches(job.count))
      return mistakes_.add(entry.line,
                           "\"seed\" plus \"count\" exceeds the largest seed " + std::to_string(Seed::kLargest));
    for (int64_t i = 0; i < job.count; ++i) {
      const std::string end = suffix + (job.count > 1 ? "_" + std::to_string(i) : "");
      PromptJob made{.line = entry.line,
                     .id = name + end,
                     .job = job,
                     .row = &entry - source_.entries.data(),
                     .prompt_id = name,
                     .has_id = entry.id.has_value(),
                     .has_seed = has_seed,
                     .metadata = entry.metadata,
                     .faulty = entry.faulty};
      made.job.count = 1;
      made.job.seed = first + i;
      made.job.output = with_suffix(job.output, end);
      keep(std::move(made));
    }
  }

  void keep(PromptJob made) {
    const size_t before = mistakes_.size();
    check_name(made);
    made.faulty = made.faulty || mistakes_.size() != before;
    jobs_.push_back(std::move(made));
  }

  void check_name(const PromptJob& made) {
    std::string problem;
    safe_name(made.id, problem);
    if (problem.empty() && !made.job.output.empty() && safe_name(made.job.output, problem) != made.job.output)
      problem = "holds a character that some file systems refuse";
    if (!problem.empty())
      return mistakes_.add(
          made.line, "the name " +
                         shortened(nlohmann::json(made.job.output.empty() ? made.id : made.job.output).dump(), 80) +
                         " " + problem);
    const auto [twin, fresh] = ids_.try_emplace(in_lower_case(made.id), std::pair{made.line, made.id});
    if (!fresh) {
      const auto& [line, id] = twin->second;
      return mistakes_.add(made.line, "the id \"" + made.id + "\" " +
                                          (id == made.id ? "is used twice, first"
                                                         : "differs from \"" + id + "\" in case alone, which is") +
                                          " on line " + std::to_string(line));
    }
  }

  const PromptSource& source_;
  const std::vector<std::pair<const JobOption*, std::string>>& flags_;
  int64_t count_;
  const std::filesystem::path& lora_dir_;
  Mistakes& mistakes_;
  std::map<std::string, std::pair<int64_t, std::string>> ids_;
  std::vector<PromptJob> jobs_;
};

}  // namespace

std::string safe_name(const std::string& id, std::string& problem) {
  problem.clear();
  std::string name;
  for (size_t at = 0; at < id.size();) {
    const size_t start = at;
    const std::optional<uint32_t> code = next_code_point(id, at);
    const bool refused = !code || is_control_character(*code) ||
                         (*code < 128 && std::string_view("<>:\"\\|?*").find(id[start]) != std::string::npos);
    name += refused ? "_" : id.substr(start, at - start);
  }
  if (id.size() > kLongestPath)
    problem = "has " + std::to_string(id.size()) + " bytes; at most " + std::to_string(kLongestPath) + " are taken";
  else if (!id.empty() && id[0] == '/')
    problem = "is an absolute path; outputs stay in the output folder";
  for (size_t start = 0; start <= id.size() && problem.empty();) {
    const size_t end = std::min(id.find_first_of("/\\", start), id.size());
    const std::string part = id.substr(start, end - start);
    if (part.empty())
      problem = id.empty() ? "is empty" : "has an empty part between slashes";
    else if (part == "..")
      problem = "climbs out of the output folder";
    else if (part[0] == '.')
      problem = "has a part that begins with a dot";
    else if (part.size() > kLongestName)
      problem = "has a part of " + std::to_string(part.size()) + " bytes; at most " + std::to_string(kLongestName) +
                " are taken";
    start = end + 1;
  }
  return name;
}

PromptFile read_prompt_file(const std::filesystem::path& path,
                            const std::vector<std::pair<const JobOption*, std::string>>& flags, int64_t largest,
                            const std::string& prompt_key, int64_t count, const std::filesystem::path& lora_dir) {
  const PromptInput input = read_prompt_input(path, largest);
  PromptFile file{.name = input.name, .jobs = {}, .notes = {}, .mistakes = {}};
  Mistakes& mistakes = file.mistakes;
  if (input.is_folder) {
    std::vector<std::string> names;
    for (const PromptInput::File& one : input.files) names.push_back(one.name);
    mistakes.name_lines(std::move(names));
  }
  check_utf8(input, mistakes);
  if (mistakes.size() > 0) return file;
  PromptSource source = read_prompt_source(input, prompt_key, mistakes, !lora_dir.empty());
  const std::filesystem::path folder = path == "-" ? "" : input.is_folder ? path : path.parent_path();
  place_pictures(source.defaults, folder);
  for (PromptEntry& entry : source.entries) place_pictures(entry.own, folder);
  if (mistakes.size() == 0 && source.entries.empty()) mistakes.add(1, "no prompt in the whole file");
  file.jobs = Expansion(source, flags, count, lora_dir, mistakes).run();
  file.notes = source.notes;
  return file;
}

}  // namespace tessera
