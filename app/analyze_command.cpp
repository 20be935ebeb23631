#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "core/cancel.h"
#include "core/error.h"
#include "pipelines/analyze.h"

namespace tessera {
namespace {

struct AnalyzeOptions {
  AnalysisRequest request;
  std::string bare_prompt, folder;
  std::vector<int64_t> token;
};

/// Options of a job that say nothing about one sample's denoising.
const std::set<std::string>& not_of_an_analysis() {
  static const std::set<std::string> names = {"output", "count", "json", "fps", "vae-tile"};
  return names;
}

AnalysisRequest request_of(const AnalyzeOptions& options) {
  AnalysisRequest request = options.request;
  if (!options.bare_prompt.empty()) {
    if (!request.job.prompt.empty())
      throw Error("the prompt is given twice, as an argument and with --prompt; give it once");
    request.job.prompt = options.bare_prompt;
  }
  request.job.output = options.folder;
  if (!options.token.empty()) request.token = Extent3{options.token[0], options.token[1], options.token[2]};
  return request;
}

}  // namespace

void add_analyze_command(CLI::App& root) {
  auto options = std::make_shared<AnalyzeOptions>();
  CLI::App* command = root.add_subcommand("analyze", "Look into a model's self-attention while it denoises one sample");
  command->add_option("PROMPT", options->bare_prompt, "What to show, in quotes")->group("What to render");
  add_job_options(*command, options->request.job, not_of_an_analysis());
  command
      ->add_option("--calls", options->request.calls,
                   "Network calls to look at, counted from 1 and joined by commas; default: five, evenly spread")
      ->delimiter(',')
      ->type_name("N,...")
      ->group("Analysis");
  command
      ->add_option("--token", options->token,
                   "Token whose attention is drawn: frame, row and column in the grid of tokens, counted from 0; "
                   "default: the middle one")
      ->delimiter(',')
      ->expected(3)
      ->type_name("T,Y,X")
      ->group("Analysis");
  command->add_option("-o,--output", options->folder, "Folder for the report; created if missing")
      ->required()
      ->type_name("DIR")
      ->group("Output");
  put_help_last(*command, "Output");
  command->footer(
      "Writes index.html, analysis.json and the maps as PNG; prints their paths. For each layer and call: rank, "
      "effective\n"
      "rank and entropy of the attention matrix that the layer stands for, and the smallest and largest normalizer; "
      "MHLA's\n"
      "mixing matrices; what one token takes from the others. docs/analysis.md explains the figures.\n"
      "\n"
      "Examples\n"
      "  tessera analyze \"a yellow star moving left on a blue background\" -o report\n"
      "  tessera analyze --model DiT-MHLA.pt --vae sd-vae-ft-ema --class 207 --calls 1,125,250 -o report");
  command->callback([options] {
    install_signal_handlers();
    const bool quiet = options->request.job.quiet;
    for (const std::string& file : analyze(request_of(*options), stderr_progress_style(quiet), note_listener(quiet)))
      std::cout << file << "\n";
    std::cout.flush();
  });
}

}  // namespace tessera
