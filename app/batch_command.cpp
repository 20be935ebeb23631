#include <c10/core/impl/VirtualGuardImpl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <set>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/live_fid.h"
#include "batch/batch.h"
#include "batch/gallery.h"
#include "batch/ranks.h"
#include "batch/workers.h"
#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "core/ranks.h"
#include "core/utf8.h"

namespace tessera {
namespace {

struct CommandOptions {
  Job job;  // checks the flags; what was given goes through batch_flags
  std::string prompts, format;
  BatchOptions batch;
  std::string folder;
  bool dry_run = false, schema = false, gallery = true;
  int workers = 1;
  std::string shard;
  SharedBatch shared;
  LiveFidOptions fid;
};

/// Options of generate that mean something else, or nothing, for a whole file.
const std::set<std::string>& left_out() {
  static const std::set<std::string> names = {"prompt", "output", "latents"};
  return names;
}

/// The job options that stand on the command line.
std::vector<std::pair<const JobOption*, std::string>> batch_flags(const CLI::App& command) {
  std::vector<std::pair<const JobOption*, std::string>> given;
  for (const JobOption& option : job_options()) {
    if (left_out().count(option.name) || !allowed_in_prompt_file(option, true)) continue;
    const CLI::Option* flag = command.get_option("--" + option.name);
    if (flag->count() > 0) given.emplace_back(&option, flag->results().back());
  }
  return given;
}

std::string megabytes(int64_t bytes) {
  return std::to_string((bytes + 999999) / 1000000) + " MB";
}

void print_plan(const BatchPlan& plan, const BatchEstimate& estimate, bool json) {
  if (json) {
    nlohmann::ordered_json jobs = nlohmann::ordered_json::array();
    for (const BatchJob& job : plan.jobs)
      jobs.push_back({{"id", job.id}, {"output", job.name}, {"job", recipe_json(job.job)}});
    const nlohmann::ordered_json whole = {{"outputs", estimate.total},
                                          {"done_already", estimate.skipped},
                                          {"most_bytes", estimate.bytes},
                                          {"denoise_seconds", estimate.denoise_seconds},
                                          {"decode_seconds", estimate.decode_seconds},
                                          {"jobs", jobs}};
    std::cout << whole.dump() << std::endl;
    return;
  }
  for (const BatchJob& job : plan.jobs)
    std::cout << job.name << "  " << *job.job.width << "x" << *job.job.height << ", " << *job.job.frames << " frames, "
              << *job.job.steps << " steps, seed " << job.job.seed << "  " << shortened(job.job.prompt, 60) << "\n";
  std::cout << estimate.total << " outputs, " << estimate.skipped << " done already; at most "
            << megabytes(estimate.bytes) << "; one after another they take about "
            << clock_text(estimate.denoise_seconds + estimate.decode_seconds) << ", of which "
            << clock_text(estimate.decode_seconds) << " are decoding and writing\n";
}

/// "rank 2: ", "worker 2: " or "".
std::string speaker(const Ranks& ranks) {
  if (ranks.launcher == "tessera") return "worker " + std::to_string(ranks.rank) + ": ";
  return ranks.size > 1 ? "rank " + std::to_string(ranks.rank) + ": " : "";
}

/// Several processes may share a terminal: a line is written at once, over a progress bar that stands there.
void say(const std::string& text, const CommandOptions& options) {
  const std::string who = speaker(options.shared.ranks);
  const bool over_a_bar = (!who.empty() || options.workers > 1) && isatty(STDERR_FILENO);
  std::cerr << (over_a_bar ? "\r\033[K" : "") + ("tessera: " + who + text + "\n") << std::flush;
}

void print_finished(const ManifestEntry& entry, const CommandOptions& options) {
  if (entry.status != "done") {
    say(entry.id + " failed: " + entry.error, options);
    return;
  }
  const std::string path = (options.batch.folder / entry.output).string();
  if (options.job.json)
    std::cout << nlohmann::ordered_json{{"id", entry.id},
                                        {"output", path},
                                        {"sha256", entry.sha256},
                                        {"seconds",
                                         {{"text", entry.text_seconds},
                                          {"denoise", entry.denoise_seconds},
                                          {"decode", entry.decode_seconds}}},
                                        {"job", entry.recipe}}
                     .dump()
              << std::endl;
  else
    std::cout << path << std::endl;
}

/// Whether this process is one of those that render the same batch.
bool is_one_of_several(const Ranks& ranks) {
  return ranks.size > 1 || ranks.launcher == "tessera";
}

/// Whether another process speaks for the whole run.
bool is_member(const Ranks& ranks) {
  return ranks.rank > 0 || ranks.launcher == "tessera";
}

/// Processes of one machine spread over its GPUs unless one is named.
Job with_own_device(Job job, const Ranks& ranks) {
  if (ranks.local_rank == 0 || (job.device != "cuda" && job.device != "auto")) return job;
  const at::Device device = open_device(job.device);
  if (device.is_cuda()) {
    const int count = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
    job.device = "cuda:" + std::to_string(ranks.local_rank % std::max(1, count));
  }
  return job;
}

BatchSummary render_alone_or_together(const BatchPlan& plan, Renderer& renderer, const CommandOptions& options,
                                      const BatchListener& listener) {
  if (is_one_of_several(options.shared.ranks))
    return run_batch_rank(plan, renderer, options.batch, options.shared, listener);
  if (options.workers > 1)
    return run_batch_workers(plan, options.batch, options.workers, options.shared.lease, listener);
  return run_batch(plan, renderer, options.batch, listener);
}

/// The page of the folder. What was rendered is not lost with it, so a page that cannot be written is only told.
void make_gallery(const CommandOptions& options) {
  if (!options.gallery) return;
  try {
    say(write_gallery(options.batch.folder).path.string() + " shows the outputs", options);
  } catch (const Error& error) {
    if (static_cast<int>(error.code()) >= 128) throw;
    say(std::string("no gallery: ") + error.what() + "; tessera gallery makes it again", options);
  }
}

/// The score of all that the folder holds of this plan.
void report_fid(const LiveFid& fid, const BatchPlan& plan, const CommandOptions& options) {
  const auto note = [&](const std::string& text) { say(text, options); };
  if (options.batch.shard) {
    note("the features of this part are kept; run again with --resume and without --shard for the FID of the whole");
    return;
  }
  const FeatureStatistics statistics = fid.collect(plan, options.batch.folder, note);
  if (statistics.count() < 2)
    note("no FID: it needs at least 2 pictures, and " + std::to_string(statistics.count()) + " are done");
  else
    fid.report(statistics);
}

void render(const BatchPlan& plan, Renderer& renderer, const CommandOptions& options, const LiveFid* fid) {
  BatchSummary so_far;
  BatchListener listener = {[&](const std::string& text) { say(text, options); },
                            [&](const ManifestEntry& entry, const BatchSummary& summary) {
                              so_far = summary;
                              print_finished(entry, options);
                            }};
  if (fid)
    listener.tap = [&](const BatchJob& job, std::unique_ptr<FrameWriter> writer) {
      return fid->tap(job, options.batch.folder, std::move(writer));
    };
  try {
    so_far = render_alone_or_together(plan, renderer, options, listener);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kPartlyDone && !is_member(options.shared.ranks)) make_gallery(options);
    if (static_cast<int>(error.code()) < 128 || options.workers > 1 || is_member(options.shared.ranks)) throw;
    throw Error("stopped by a signal; " + std::to_string(so_far.done + so_far.skipped) + " of " +
                    std::to_string(plan.jobs.size()) + " outputs are done; go on with --resume",
                error.code());
  }
  if (is_member(options.shared.ranks)) return;
  make_gallery(options);
  say(std::to_string(so_far.done) + " rendered, " + std::to_string(so_far.skipped) + " done already, " +
          std::to_string(so_far.failed) + " failed",
      options);
  if (fid) report_fid(*fid, plan, options);
  if (so_far.failed > 0)
    throw Error(std::to_string(so_far.failed) + " of " + std::to_string(so_far.total) + " jobs failed; see " +
                    (options.batch.folder / "manifest.jsonl").string() + ", try again with --resume",
                ExitCode::kPartlyDone);
}

void run(CommandOptions& options, const CLI::App& command) {
  if (options.schema) {
    std::cout << prompt_schema().dump(2) << std::endl;
    return;
  }
  if (options.prompts.empty()) throw Error("batch needs a prompt file: tessera batch prompts.json -o out");
  if (options.folder.empty()) throw Error("batch needs a folder for its outputs: -o DIR");
  if (options.batch.resume && options.batch.overwrite) throw Error("--resume and --overwrite exclude each other");
  options.batch.folder = options.folder;
  options.shared.ranks = find_ranks(environment_variables());
  const Ranks& ranks = options.shared.ranks;
  if (options.workers > 1 && ranks.size > 1 && ranks.launcher != "tessera")
    throw Error("--workers starts processes of its own, and " + ranks.launcher + " has started " +
                std::to_string(ranks.size) + "; choose one of the two");
  if (!options.shard.empty()) {
    options.batch.shard = parse_shard(options.shard, environment_variables());
    if (options.workers > 1 || is_one_of_several(ranks))
      throw Error(
          "--shard is for processes that know nothing of each other; leave it out with --workers, torchrun, "
          "mpirun or srun, whose ranks share the work by themselves");
  }
  if (options.dry_run && is_member(ranks)) return;
  options.batch.progress = stderr_progress_style(options.job.quiet || is_member(ranks));
  const PromptFile prompts = read_prompt_file(options.prompts, batch_flags(command));
  const std::unique_ptr<Renderer> renderer = open_renderer(with_own_device(prompts.jobs.front().job, ranks));
  renderer->check_weights();
  BatchPlan plan = plan_batch(prompts, *renderer, options.prompts, options.batch.folder, options.format,
                              model_hash(renderer->folder()));
  if (options.batch.shard) plan = shard_of(plan, *options.batch.shard);
  if (options.batch.batch_size > 1) group_by_shape(plan, *renderer);
  if (!is_member(ranks))
    for (const std::string& note : plan.notes) say(note, options);
  std::optional<LiveFid> fid;
  options.fid.json = options.job.json;
  if (!options.fid.reference.empty())
    fid.emplace(options.fid, open_device(with_own_device(prompts.jobs.front().job, ranks).device));
  if (options.dry_run)
    print_plan(plan, estimate_batch(plan, *renderer, options.batch), options.job.json);
  else
    render(plan, *renderer, options, fid ? &*fid : nullptr);
}

void add_batch_options(CLI::App& command, CommandOptions& options) {
  command.add_option("PROMPTS", options.prompts, "Prompt file: JSON, JSONL, YAML or text; docs/batch.md has the forms")
      ->group("What to render");
  add_job_options(command, options.job, left_out());
  add_live_fid_options(command, options.fid);
  command.add_option("-o,--output", options.folder, "Folder for outputs and manifest.jsonl; made when missing")
      ->type_name("DIR")
      ->group("Output");
  command
      .add_option("--format", options.format,
                  "mp4, webm, gif, ... for videos, png for pictures, frames for a folder of frames; without it mp4, or "
                  "png for one frame")
      ->type_name("NAME")
      ->group("Output");
  command
      .add_flag(
          option_names("", {"no-gallery"}), [&options](int64_t) { options.gallery = false; },
          "Leave out index.html, the page that shows the outputs")
      ->group("Output");
  command.add_flag("--resume", options.batch.resume, "Go on with an earlier run: skip what is done, redo what changed")
      ->group("Running");
  command.add_flag("--overwrite", options.batch.overwrite, "Begin anew over an earlier run")->group("Running");
  command.add_option("--max-failures", options.batch.max_failures, "Stop after N failed jobs; 0 never stops")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->default_str("0")
      ->group("Running");
  command
      .add_option("--batch-size", options.batch.batch_size,
                  "Denoise up to N outputs of one size and length together, with the same results; worth it for small "
                  "pictures and on a GPU. Halved when memory runs out")
      ->type_name("N")
      ->check(CLI::Range(1, 256))
      ->default_str("1")
      ->group("Running");
  command
      .add_flag("--deterministic", options.batch.deterministic,
                "Send each output through the network by itself whatever --batch-size says: bytes are then equal on "
                "machines where they otherwise are not (docs/batch.md)")
      ->group("Running");
  command
      .add_flag("--dry-run", options.dry_run, "Check everything, print the plan and a time estimate, render nothing")
      ->group("Running");
  command
      .add_option("--workers", options.workers,
                  "Render with N processes on this machine, which share its cores; ranks that torchrun, mpirun or srun "
                  "start share the work by themselves (docs/batch.md)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->default_str("1")
      ->group("Running");
  command
      .add_option("--shard", options.shard,
                  "Render part I of N (0/4 to 3/4) of the file; processes with the other parts may write to the same "
                  "folder at any time. \"array\" takes the task of a Slurm array")
      ->type_name("I/N")
      ->group("Running");
  command
      .add_option_function<double>(
          "--lease",
          [&options](double seconds) {
            options.shared.lease = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
          },
          "With several processes: one that gives no sign of life for so long has its jobs done by the others")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 86400.0))
      ->default_str("60")
      ->group("Running");
  command.add_flag("--schema", options.schema, "Print the JSON Schema of prompt files")->group("Running");
}

}  // namespace

void add_batch_command(CLI::App& root) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App* command = root.add_subcommand("batch", "Render a file of prompts, safely and resumably");
  add_batch_options(*command, *options);
  put_help_last(*command, "Running");
  command->footer(
      "When it ends it writes index.html into the folder, a page that shows the outputs.\n"
      "Options win over the file's \"defaults\" and give way to what a prompt says itself. Paths (or JSON) go to\n"
      "stdout. Exit codes: 0 all done, 1 failed, 2 wrong use or a mistake in the file, 3 some jobs failed,\n"
      "130 stopped by Ctrl-C.\n"
      "\n"
      "Examples\n"
      "  tessera batch prompts.json -o out\n"
      "  tessera batch prompts.txt -o out --size 832x480 --steps 30 --dry-run\n"
      "  tessera batch prompts.json -o out --resume");
  command->callback([options, command] {
    install_signal_handlers();
    try {
      run(*options, *command);
    } catch (const Error& error) {
      throw Error(speaker(options->shared.ranks) + error.what(), error.code());
    }
  });
}

}  // namespace tessera
