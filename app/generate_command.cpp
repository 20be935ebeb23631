#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/progress.h"
#include "pipelines/generate.h"

namespace tessera {
namespace {

struct GenerateOptions {
  Job job;
  std::string bare_prompt;
};

Job job_of(const GenerateOptions& options) {
  Job job = options.job;
  if (options.bare_prompt.empty()) return job;
  if (!job.prompt.empty()) throw Error("the prompt is given twice, bare and with --prompt; give it once");
  job.prompt = options.bare_prompt;
  return job;
}

nlohmann::ordered_json result_json(const GeneratedOutput& output) {
  return {{"output", output.path},
          {"files", output.files},
          {"seconds",
           {{"text", output.text_seconds}, {"denoise", output.denoise_seconds}, {"decode", output.decode_seconds}}},
          {"step_cache",
           {{"calls", output.step_cache.calls},
            {"reused", output.step_cache.reused},
            {"mean_change", output.step_cache.mean_change},
            {"largest_change", output.step_cache.largest_change}}},
          {"job", output.recipe["job"]}};
}

void print_result(const GeneratedOutput& output, bool json) {
  if (json) {
    std::cout << result_json(output).dump() << std::endl;
    return;
  }
  for (const auto& file : output.files) std::cout << file << "\n";
  std::cout.flush();
}

}  // namespace

void add_generate_command(CLI::App& root) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = root.add_subcommand("generate", "Make an image or a video from a sentence");
  command->add_option("PROMPT", options->bare_prompt, "What to show, in quotes")->group("What to render");
  add_job_options(*command, options->job);
  put_help_last(*command, "Output");
  command->footer(
      "\"model default\" is what the model says of itself: see tessera info. Paths (or JSON) go to stdout,\n"
      "everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong use or bad input, 4 bad pixels,\n"
      "130 stopped by Ctrl-C.\n"
      "\n"
      "Examples\n"
      "  tessera generate \"a yellow star moving left on a blue background\" -o star.mp4\n"
      "  tessera generate \"a red heart on a white background\" -o heart.png --seed 7\n"
      "  tessera generate \"a green moon spinning on a black background\" -o moon/frame_%04d.png\n"
      "  tessera generate \"a cat on a sofa\" --model Wan2.1-T2V-1.3B-Diffusers --size 832x480 -o cat.mp4 --count 4");
  command->callback([options] {
    install_signal_handlers();
    const Job job = job_of(*options);
    const auto note = [](const std::string& text) { std::cerr << "tessera: " << text << std::endl; };
    generate(job, {stderr_progress_style(job.quiet), note,
                   [&](const GeneratedOutput& output) { print_result(output, job.json); }});
  });
}

}  // namespace tessera
