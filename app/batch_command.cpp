#include <unistd.h>

#include <iostream>
#include <optional>
#include <set>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "app/score_report.h"
#include "batch/batch.h"
#include "batch/gallery.h"
#include "batch/layout.h"
#include "batch/live_scores.h"
#include "batch/prompt_file.h"
#include "batch/request.h"
#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "core/printable.h"
#include "core/ranks.h"
#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

struct CommandOptions {
  Job job;  // checks the flags; what was given goes through batch_flags
  BatchRequest request;
  std::string prompts, folder, shard, lora_dir;
  bool dry_run = false, schema = false, gallery = true;
  LiveFidRequest fid;
};

/// Options of generate that mean something else, or nothing, for a prompt file.
const std::set<std::string>& left_out() {
  static const std::set<std::string> names = {"prompt", "output", "latents"};
  return names;
}

/// The job options given on the command line.
std::vector<std::pair<const JobOption*, std::string>> batch_flags(const CLI::App& command) {
  std::vector<std::pair<const JobOption*, std::string>> given;
  for (const JobOption& option : job_options()) {
    if (left_out().count(option.name) || !allowed_in_prompt_file(option, true)) continue;
    const CLI::Option* flag = command.get_option("--" + option.name);
    if (flag->count() > 0) given.emplace_back(&option, value_of_all(option, flag->results()));
  }
  return given;
}

std::string megabytes(int64_t bytes) {
  return std::to_string(bytes / 1000000 + (bytes % 1000000 > 0)) + " MB";
}

nlohmann::ordered_json plan_json(const BatchJob& job) {
  nlohmann::ordered_json line = {{"id", job.id}, {"output", job.name}, {"job", recipe_json(job.job)}};
  if (!job.tiles.empty()) line["samples"] = job.samples().size();
  if (!job.metadata.empty()) line["metadata"] = job.metadata;
  return line;
}

/// "seed 7" or, for a tiled output, "seeds 7, 8, 9, 10".
std::string seeds_of(const BatchJob& job) {
  const std::vector<const Job*> samples = job.samples();
  return (samples.size() > 1 ? "seeds " : "seed ") +
         joined(samples, ", ", [](const Job* sample) { return sample->seed.text(); });
}

void print_plan(const BatchPlan& plan, const BatchEstimate& estimate, bool json) {
  if (json) {
    nlohmann::ordered_json jobs = nlohmann::ordered_json::array();
    for (const BatchJob& job : plan.jobs) jobs.push_back(plan_json(job));
    const nlohmann::ordered_json whole = {{"outputs", estimate.total},
                                          {"done_already", estimate.skipped},
                                          {"most_bytes", estimate.bytes},
                                          {"denoise_seconds", estimate.denoise_seconds},
                                          {"decode_seconds", estimate.decode_seconds},
                                          {"jobs", jobs}};
    std::cout << json_text(whole) << std::endl;
    return;
  }
  for (const BatchJob& job : plan.jobs)
    std::cout << job.name << "  " << *job.job.width << "x" << *job.job.height << ", "
              << counted(*job.job.frames, "frame") << ", " << counted(*job.job.steps, "step") << ", " << seeds_of(job)
              << "  " << printable_line(shortened(job.job.prompt, 60)) << "\n";
  std::cout << counted(estimate.total, "output") << ", " << estimate.skipped << " done already; at most "
            << megabytes(estimate.bytes) << "; one after another they take about "
            << clock_text(estimate.denoise_seconds + estimate.decode_seconds) << ", of which "
            << clock_text(estimate.decode_seconds) << " are decoding and writing\n";
}

/// "rank 2: ", "worker 2: " or "".
std::string speaker(const Ranks& ranks) {
  if (ranks.launcher == "tessera") return "worker " + std::to_string(ranks.rank) + ": ";
  return ranks.size > 1 ? "rank " + std::to_string(ranks.rank) + ": " : "";
}

/// Several processes may share a terminal: a line is written in one piece, over any progress bar.
void report(const std::string& text, const CommandOptions& options) {
  const std::string who = speaker(options.request.shared.ranks);
  const bool over_a_bar = (!who.empty() || options.request.workers != 1) && isatty(STDERR_FILENO);
  std::cerr << (over_a_bar ? "\r\033[K" : "") + ("tessera: " + who + printable_text(text) + "\n") << std::flush;
}

/// The same for what is no error.
void say(const std::string& text, const CommandOptions& options) {
  if (!options.job.quiet) report(text, options);
}

void print_finished(const ManifestEntry& entry, const CommandOptions& options) {
  if (entry.status != "done") {
    report(entry.id + " failed: " + entry.error, options);
    return;
  }
  const std::string path = (options.request.options.folder / entry.output).string();
  if (!options.job.json) {
    std::cout << path << std::endl;
    return;
  }
  nlohmann::ordered_json line = {
      {"id", entry.id},
      {"output", path},
      {"sha256", entry.sha256},
      {"seconds", {{"text", entry.text_seconds}, {"denoise", entry.denoise_seconds}, {"decode", entry.decode_seconds}}},
      {"job", entry.recipe}};
  if (!entry.metadata.empty()) line["metadata"] = entry.metadata;
  std::cout << json_text(line) << std::endl;
}

/// Writes the page of the folder. A page that cannot be written is reported and fails nothing: the outputs are there.
void make_gallery(const CommandOptions& options) {
  if (!options.gallery) return;
  try {
    say(write_gallery(options.request.options.folder).path.string() + " shows the outputs", options);
  } catch (const Error& error) {
    if (error.is_cancellation()) throw;
    report(std::string("no gallery: ") + error.what() + "; create it later with tessera gallery", options);
  }
}

/// The score of all that the folder holds of this plan.
void report_fid(const LiveFid& fid, const BatchPlan& plan, const CommandOptions& options) {
  const auto note = [&](const std::string& text) { say(text, options); };
  const BatchOptions& batch = options.request.options;
  if (batch.shard) {
    note("the features of this part are saved; for the FID of all parts, run again with --resume and without --shard");
    return;
  }
  const FeatureStatistics statistics = collect_features(fid, plan, batch.folder, note);
  if (statistics.count() < 2)
    report("no FID: it needs at least 2 images; " + std::to_string(statistics.count()) + " done so far", options);
  else
    print_score(fid.score(statistics), options.job.json, options.job.quiet);
}

void render(OpenedBatch& batch, const CommandOptions& options, const LiveFid* fid) {
  const BatchRequest& request = options.request;
  const std::filesystem::path& folder = request.options.folder;
  const bool leads = request.shared.ranks.leads();
  BatchSummary so_far;
  BatchListener listener = {.note = [&](const std::string& text) { say(text, options); },
                            .finished =
                                [&](const ManifestEntry& entry, const BatchSummary& summary) {
                                  so_far = summary;
                                  print_finished(entry, options);
                                }};
  if (fid)
    listener.tap = [&](const BatchJob& job, std::unique_ptr<FrameWriter> writer) {
      return tap_job(*fid, job, folder, std::move(writer));
    };
  try {
    so_far = render_batch(batch, request, listener);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kPartlyDone && leads) make_gallery(options);
    if (!error.is_cancellation() || batch.workers > 1 || !leads) throw;
    throw Error("stopped by a signal; " + std::to_string(so_far.done + so_far.skipped) + " of " +
                    std::to_string(batch.plan.jobs.size()) + " outputs are done; continue with --resume",
                error.code());
  }
  if (!leads) return;
  make_gallery(options);
  say(std::to_string(so_far.done) + " rendered, " + std::to_string(so_far.skipped) + " done already, " +
          std::to_string(so_far.failed) + " failed",
      options);
  if (fid) report_fid(*fid, batch.plan, options);
  if (so_far.failed > 0)
    throw Error(std::to_string(so_far.failed) + " of " + std::to_string(so_far.total) + " jobs failed; see " +
                    manifest_path(folder).string() + "; try them again with --resume",
                ExitCode::kPartlyDone);
}

/// Fills in what the flags mean together. Throws Error for those that contradict each other.
void read_request(CommandOptions& options, const CLI::App& command) {
  BatchRequest& request = options.request;
  if (options.prompts.empty()) throw Error("batch needs a prompt file: tessera batch prompts.json -o out");
  if (options.folder.empty()) throw Error("batch needs a folder for its outputs: -o DIR");
  if (request.options.resume && request.options.overwrite)
    throw Error("--resume and --overwrite contradict each other; choose one");
  check_json_output(options.job, options.folder);
  request.prompts = options.prompts;
  request.flags = batch_flags(command);
  request.lora_dir = options.lora_dir;
  request.options.folder = options.folder;
  const Variables variables = environment_variables();
  const Ranks& ranks = request.shared.ranks = find_ranks(variables);
  if (request.workers != 1 && ranks.size > 1 && ranks.launcher != "tessera")
    throw Error("--workers starts its own processes, but " + ranks.launcher + " has started " +
                std::to_string(ranks.size) + "; choose one of the two");
  if (options.prompts == "-" && (request.workers != 1 || ranks.size > 1))
    throw Error("several processes cannot share standard input; write the prompts to a file and name it");
  if (!options.shard.empty()) {
    request.options.shard = parse_shard(options.shard, variables);
    if (request.workers != 1 || ranks.several())
      throw Error(
          "--shard is for independent processes; leave it out with --workers, torchrun, mpirun or srun, whose ranks "
          "share the work already");
  }
  request.options.progress = stderr_progress_style(options.job.quiet || !ranks.leads());
}

void run(CommandOptions& options, const CLI::App& command) {
  if (options.schema) {
    std::cout << prompt_schema().dump(2) << std::endl;
    return;
  }
  read_request(options, command);
  const bool leads = options.request.shared.ranks.leads();
  if (options.dry_run && !leads) return;
  OpenedBatch batch = open_batch(options.request);
  if (leads)
    for (const std::string& note : batch.plan.notes) say(note, options);
  std::optional<LiveFid> fid;
  if (!options.fid.reference.empty())
    fid.emplace(options.fid, open_device(batch.device), stderr_listener(options.job.quiet));
  if (options.dry_run)
    print_plan(batch.plan, estimate_batch(batch.plan, *batch.renderer, options.request.options), options.job.json);
  else
    render(batch, options, fid ? &*fid : nullptr);
}

void add_batch_options(CLI::App& command, CommandOptions& options) {
  command
      .add_option(
          "PROMPTS", options.prompts,
          "Prompt file: JSON, JSONL, YAML, CSV, TSV or text; a folder of .txt files with a prompt each; or - for "
          "standard input. docs/batch.md describes the formats")
      ->group("What to render");
  command
      .add_option(option_names("", {"prompt-key"}), options.request.prompt_key,
                  "Key or column that holds the prompt, if it is not named prompt")
      ->type_name("NAME")
      ->group("What to render");
  add_job_options(command, options.job, left_out());
  add_lora_dir_option(command, options.lora_dir);
  add_live_fid_options(command, options.fid);
  command.add_option("-o,--output", options.folder, "Folder for outputs and manifest.jsonl; created if missing")
      ->type_name("DIR")
      ->group("Output");
  command
      .add_option("--format", options.request.format,
                  "mp4, webm, gif, ... for videos; png for images; frames for a folder of frames; default: mp4, or png "
                  "for a single frame")
      ->type_name("NAME")
      ->group("Output");
  command
      .add_option(
          "--layout", options.request.layout,
          "Name the outputs as the evaluator of a benchmark expects them: " + layout_names() + " (docs/benchmarks.md)")
      ->type_name("NAME")
      ->default_str("flat")
      ->group("Output");
  command
      .add_flag(
          option_names("", {"no-gallery"}), [&options](int64_t) { options.gallery = false; },
          "Do not write index.html, the page that shows the outputs")
      ->group("Output");
  command
      .add_flag("--resume", options.request.options.resume,
                "Continue an earlier run: skip finished jobs, redo changed ones")
      ->group("Running");
  command.add_flag("--overwrite", options.request.options.overwrite, "Replace an earlier run")->group("Running");
  command
      .add_option("--max-failures", options.request.options.max_failures, "Stop after N failed jobs; 0 for no limit")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->default_str("0")
      ->group("Running");
  command
      .add_option(
          "--batch-size", options.request.options.batch_size,
          "Denoise up to N outputs of the same size and length together, with the same results; useful for small "
          "images and on a GPU. Halved if memory runs out")
      ->type_name("N")
      ->check(CLI::Range(1, 256))
      ->default_str("1")
      ->group("Running");
  command
      .add_flag("--deterministic", options.request.options.deterministic,
                "Run the network on one output at a time regardless of --batch-size, for machines where results would "
                "otherwise depend on it (docs/batch.md)")
      ->group("Running");
  command
      .add_flag("--dry-run", options.dry_run, "Check everything and print the plan and a time estimate; render nothing")
      ->group("Running");
  command
      .add_option_function<std::string>(
          "--workers",
          [&options](const std::string& text) {
            options.request.workers = text == "auto" ? kWorkersByGpu : std::stoi(text);
          },
          "Render with N processes that share this machine's cores, or auto: one for each GPU; ranks started by "
          "torchrun, mpirun or srun share the work without this option (docs/batch.md)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024) | CLI::IsMember({"auto"}))
      ->default_str("1")
      ->group("Running");
  command
      .add_option(
          "--shard", options.shard,
          "Render only part I of N (0/4 to 3/4); the other parts may be rendered into the same folder at any time. "
          "\"array\" takes I and N from a Slurm array job")
      ->type_name("I/N")
      ->group("Running");
  command
      .add_option_function<double>(
          "--lease",
          [&options](double seconds) {
            options.request.shared.lease = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
          },
          "With several processes: reassign the jobs of a process that sends no heartbeat for this long")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 86400.0))
      ->default_str("60")
      ->group("Running");
  command.add_flag("--schema", options.schema, "Print the JSON Schema for prompt files")->group("Running");
}

}  // namespace

void add_batch_command(CLI::App& root) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App* command = root.add_subcommand("batch", "Render a file of prompts; an interrupted batch can be resumed");
  add_batch_options(*command, *options);
  put_help_last(*command, "Running");
  command->footer(
      "When done, it writes index.html, a page that shows the outputs, to the folder.\n"
      "Options override the file's \"defaults\"; a prompt's own settings override both. Paths (or JSON) go to stdout;\n"
      "with several processes, each prints the paths of the outputs that it rendered, as they finish.\n"
      "Exit codes: 0 all done, 1 failed, 2 incorrect usage or an error in the file, 3 some jobs failed, 130 stopped\n"
      "by Ctrl-C.\n"
      "\n"
      "Examples\n"
      "  tessera batch prompts.json -o out\n"
      "  tessera batch prompts.txt -o out --size 832x480 --steps 30 --dry-run\n"
      "  tessera batch benchmark.csv -o out --prompt-key caption\n"
      "  tessera batch prompts.json -o out --resume\n"
      "  tessera batch evaluation_metadata.jsonl -o out --layout geneval");
  command->callback([options, command] {
    install_signal_handlers();
    try {
      run(*options, *command);
    } catch (const Error& error) {
      throw Error(speaker(options->request.shared.ranks) + error.what(), error.code());
    }
  });
}

}  // namespace tessera
