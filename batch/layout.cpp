#include "batch/layout.h"

#include <algorithm>
#include <map>
#include <span>

#include "core/error.h"
#include "core/text.h"
#include "core/utf8.h"
#include "media/frame_writer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestFileName = 255;  // bytes, on the file systems in use
constexpr size_t kMostTiles = 4;

std::string padded(int64_t number, size_t digits) {
  std::string text = std::to_string(number);
  return text.insert(0, text.size() < digits ? digits - text.size() : 0, '0');
}

std::string in_quotes(const std::string& text) {
  return nlohmann::json(shortened(text, 60)).dump();
}

/// The prompt as it is, for a name from which `benchmark` reads it. Throws Error when it cannot be part of one.
const std::string& prompt_in_name(const PromptJob& job, const std::string& benchmark) {
  const std::string& prompt = job.job.prompt;
  const std::string reads = benchmark + " reads the prompt from the file's name, ";
  if (prompt.empty()) throw Error(reads + "and there is no prompt here");
  const auto refused =
      std::find_if(prompt.begin(), prompt.end(), [](unsigned char c) { return c == '/' || c < 32 || c == 127; });
  if (refused != prompt.end())
    throw Error(reads + "which cannot hold a " + (*refused == '/' ? "slash" : "control character") + ": " +
                in_quotes(prompt) + "; change the prompt or render it with --layout flat");
  return prompt;
}

std::string geneval_folder(const Layout::Place& place) {
  return padded(place.row, 5);
}

std::string geneval_output(const PromptJob&, const Layout::Place& place) {
  return geneval_folder(place) + "/samples/" + padded(place.sample, 4) + place.extension;
}

/// One line as json.dump writes it: the keys of the row and the prompt.
SideFile geneval_metadata(const PromptJob& job, const Layout::Place& place) {
  nlohmann::ordered_json row = job.metadata;
  for (const char* key : {"tag", "include"})
    if (!row.contains(key))
      throw Error(std::string("GenEval's evaluator wants \"") + key +
                  "\" beside each prompt; give GenEval's evaluation_metadata.jsonl, or lines like it");
  row["prompt"] = job.job.prompt;
  return {geneval_folder(place) + "/metadata.jsonl", row.dump(-1, ' ', /*ensure_ascii=*/true) + "\n"};
}

/// The evaluator takes the extension of whatever it finds first in the folder, so nothing else may lie there.
std::string vbench_output(const PromptJob& job, const Layout::Place& place) {
  if (job.job.frames == 1) throw Error("VBench scores videos; leave out \"frames\" or ask for more than 1");
  return "videos/" + prompt_in_name(job, "VBench") + "-" + std::to_string(place.sample) + place.extension;
}

std::string t2i_compbench_output(const PromptJob& job, const Layout::Place& place) {
  const std::string& prompt = prompt_in_name(job, "T2I-CompBench");
  if (prompt.find('_') != std::string::npos)
    throw Error("T2I-CompBench reads the prompt from the file's name up to the first \"_\": " + in_quotes(prompt) +
                "; write it without one");
  return "samples/" + prompt + "_" + padded(place.number, 6) + place.extension;
}

std::string dpg_output(const PromptJob& job, const Layout::Place& place) {
  if (job.prompt_id.find_first_of("./") != std::string::npos)
    throw Error("DPG-Bench finds a prompt by the picture's name up to its first dot, in one folder; the id " +
                in_quotes(job.prompt_id) + " must hold neither a dot nor a slash");
  return "images/" + job.prompt_id + place.extension;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {.name = "flat", .benchmark = ""},
      {.name = "geneval",
       .benchmark = "GenEval",
       .count = 4,
       .formats = {"png"},
       .read = "[0-9]+/samples/[0-9]+\\.png.*",
       .output = geneval_output,
       .side_file = geneval_metadata},
      {.name = "vbench",
       .benchmark = "VBench",
       .count = 5,
       .formats = {"mp4", "gif"},
       .read = "videos/[^/]+",
       .output = vbench_output,
       .by_prompt = true},
      {.name = "t2i-compbench",
       .benchmark = "T2I-CompBench",
       .count = 10,
       .formats = {"png"},
       .read = "samples/[^/]+",
       .output = t2i_compbench_output},
      {.name = "dpg",
       .benchmark = "DPG-Bench",
       .count = 4,
       .formats = {"png"},
       .read = "images/[^/]+\\.png",
       .output = dpg_output,
       .tiled = true},
  };
  return all;
}

using Samples = std::span<PromptJob>;  // of one prompt, in order

/// Arranges prompt after prompt.
class Arrangement {
 public:
  Arrangement(const Layout& layout, std::string extension, std::vector<std::string>& notes)
      : layout_(layout), extension_(std::move(extension)), notes_(notes) {}

  /// Throws Error for a prompt that the evaluator could not read.
  void add(Samples samples) {
    for (size_t i = 0; i < samples.size(); ++i) place(samples, i);
    if (layout_.by_prompt && is_repeated(samples)) return;
    usual_count_ = usual_count_ && samples.size() == static_cast<size_t>(layout_.count);
    number_ += static_cast<int64_t>(samples.size());
    if (layout_.tiled) return add_tile(samples);
    kept_.insert(kept_.end(), std::make_move_iterator(samples.begin()), std::make_move_iterator(samples.end()));
  }

  std::vector<PromptJob> take() {
    if (repeated_ > 0)
      notes_.push_back("prompts that repeat an earlier one: " + std::to_string(repeated_) +
                       "; they are left out, since " + layout_.benchmark + " finds the same files for them");
    const std::string count = std::to_string(layout_.count) + " samples of each prompt";
    const std::string start = "--layout " + layout_.name + ": ";
    notes_.push_back(usual_count_
                         ? start + count + ", as " + layout_.benchmark + " has it; --count changes it"
                         : start + layout_.benchmark + "'s own scores take " + count + ", and this run does not");
    return std::move(kept_);
  }

 private:
  void place(Samples samples, size_t i) {
    PromptJob& job = samples[i];
    if (!job.job.output.empty())
      throw Error("\"output\" and --layout " + layout_.name + " both name the file; leave one out");
    if (job.job.prompt != samples[0].job.prompt)
      throw Error("a grid of prompts is several prompts to " + layout_.benchmark + "; give each an entry of its own");
    const auto sample = static_cast<int64_t>(i);
    const Layout::Place at = {.row = job.row, .sample = sample, .number = number_ + sample, .extension = extension_};
    const fs::path file = layout_.output(job, at);
    const std::string name = file.filename().string();
    job.job.output = (file.parent_path() / literal_name(name)).string();
    if (layout_.side_file) job.side_file = layout_.side_file(job, at);
    if (name.size() > kLongestFileName)
      throw Error("the file's name would have " + std::to_string(name.size()) + " bytes, and a name has " +
                  std::to_string(kLongestFileName) + " at most; shorten the prompt " + in_quotes(job.job.prompt));
  }

  /// Whether an earlier prompt has these outputs already. Throws Error when it has other settings.
  bool is_repeated(Samples samples) {
    const std::string& name = samples[0].job.output;
    const Settings own = settings_of(samples);
    const auto [twin, fresh] = settings_.try_emplace(name, samples[0].line, own);
    if (!fresh && twin->second.second != own)
      throw Error("the prompt is that of line " + std::to_string(twin->second.first) + " with other settings, and " +
                  layout_.benchmark + " tells outputs apart by their prompt; leave one out");
    const auto [lower, first] = lower_.try_emplace(in_lower_case(name), name);
    if (!fresh)
      ++repeated_;
    else if (!first)
      notes_.push_back("the outputs of " + in_quotes(samples[0].job.prompt) +
                       " differ from others in case alone; keep them on a file system that tells case apart");
    return !fresh;
  }

  using Settings = std::vector<nlohmann::ordered_json>;

  /// The recipes; seeds only where somebody chose them.
  static Settings settings_of(Samples samples) {
    Settings settings;
    for (const PromptJob& job : samples) {
      settings.push_back(recipe_json(job.job));
      if (!job.has_seed) settings.back().erase("seed");
    }
    return settings;
  }

  void add_tile(Samples samples) {
    if (samples.size() > kMostTiles)
      throw Error(layout_.benchmark + " reads at most " + std::to_string(kMostTiles) + " samples of a prompt, not " +
                  std::to_string(samples.size()));
    if (!samples[0].has_id)
      notes_.push_back("prompts without an id are named by their position, which " + layout_.benchmark +
                       " does not know; give its folder of .txt files, or ids");
    PromptJob& tile = samples[0];
    tile.id = tile.prompt_id;
    for (PromptJob& job : samples.subspan(1)) tile.tiles.push_back(std::move(job.job));
    kept_.push_back(std::move(tile));
  }

  const Layout& layout_;
  std::string extension_;
  std::vector<std::string>& notes_;
  int64_t number_ = 0, repeated_ = 0;
  bool usual_count_ = true;
  std::vector<PromptJob> kept_;
  std::map<std::string, std::pair<int64_t, Settings>> settings_;  // by the first output of a prompt; line
  std::map<std::string, std::string> lower_;                      // outputs in lower case
};

}  // namespace

const Layout& find_layout(const std::string& name) {
  std::vector<std::string> known;
  for (const Layout& layout : layouts()) {
    if (layout.name == name) return layout;
    known.push_back(layout.name);
  }
  throw Error("--layout: unknown value " + in_quotes(name) + suggestion(name, known));
}

std::string layout_names() {
  return joined(layouts(), ", ", [](const Layout& layout) { return layout.name; });
}

void arrange_outputs(const Layout& layout, PromptFile& file, const std::string& format) {
  if (!layout.output) return;
  const auto& formats = layout.formats;
  if (!format.empty() && std::find(formats.begin(), formats.end(), format) == formats.end())
    throw Error("--layout " + layout.name + " writes " + joined(formats, " or ") + ", not --format " + format);
  Arrangement arrangement(layout, "." + (format.empty() ? formats.front() : format), file.notes);
  for (size_t start = 0; start < file.jobs.size();) {
    size_t end = start;
    while (end < file.jobs.size() && file.jobs[end].row == file.jobs[start].row) ++end;
    const Samples samples = Samples(file.jobs).subspan(start, end - start);
    const int64_t line = samples[0].line;
    const bool faulty = samples[0].faulty;
    try {
      arrangement.add(samples);
    } catch (const Error& error) {
      if (!faulty) file.mistakes.add(line, error.what());  // else it may follow from what is known already
    }
    start = end;
  }
  file.jobs = arrangement.take();
}

}  // namespace tessera
