#include <CLI/CLI.hpp>
#include <cstdio>

#include "claims/table.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/memory_cache.h"
#include "core/paths.h"
#include "training/export.h"
#include "training/run.h"

namespace tessera {
namespace {

struct Options {
  std::string settings, published, json, markdown, command = "bench/claims";
  bool report = false, page = false;
};

void write_page(const nlohmann::ordered_json& summary, const Options& options) {
  write_file_atomically(options.markdown, claims_page(summary, read_json_object(options.published), options.command));
}

void write_results(const ClaimSettings& settings, const Options& options) {
  const nlohmann::ordered_json summary = summarize(settings);
  write_file_atomically(options.json, summary.dump(2) + "\n");
  write_page(summary, options);
}

/// Seeds outermost, so that after a third of the time every row has a value.
void run(const Options& options) {
  if (options.page) return write_page(nlohmann::ordered_json(read_json_object(options.json)), options);
  keep_freed_memory();
  install_signal_handlers();
  ClaimSettings settings = ClaimSettings::read(options.settings);
  if (is_file(options.json)) settings.take_records(read_json_object(options.json));
  if (!options.report)
    for (const int64_t seed : settings.seeds)
      for (const ClaimTask& task : settings.tasks)
        for (const ClaimRow& row : task.rows) {
          make_run(settings, task, row, seed);
          write_results(settings, options);
        }
  write_results(settings, options);
  std::printf("%s\n%s\n", options.json.c_str(), options.markdown.c_str());
}

int main_of(int argc, char** argv) {
  CLI::App app(
      "Trains equal models that differ in their attention and tabulates what they reach; continues where it was "
      "stopped");
  Options options;
  app.add_option("--settings", options.settings, "Tasks, rows and seeds, see bench/claims.json")->required();
  app.add_option("--published", options.published, "The papers' figures, see bench/published.json")->required();
  app.add_option("--json", options.json, "Where the results go")->required();
  app.add_option("--markdown", options.markdown, "Where the page goes")->required();
  app.add_option("--command", options.command, "How the page calls this program")->capture_default_str();
  app.add_flag("--report", options.report, "Train nothing: write the results of the runs that are finished");
  app.add_flag("--page", options.page, "Write the page alone, from the results in --json");
  try {
    app.parse(argc, argv);
    run(options);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const Error& error) {
    std::fprintf(stderr, "claims: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    const auto* torch = dynamic_cast<const c10::Error*>(&error);
    std::fprintf(stderr, "claims: %s\n", torch ? torch->what_without_backtrace() : error.what());
    return static_cast<int>(ExitCode::kFailed);
  }
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  return tessera::main_of(argc, argv);
}
