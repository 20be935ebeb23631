#include <filesystem>
#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/score_options.h"
#include "app/score_report.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/progress.h"
#include "pipelines/few_steps.h"
#include "pipelines/file_recipe.h"
#include "pipelines/generate.h"
#include "pipelines/lora_tags.h"

namespace tessera {
namespace {

struct GenerateOptions {
  Job job;
  std::string bare_prompt, from_file, lora_dir;
  PreviewRequest preview;
  std::string profile;
  LiveFidRequest fid;
};

/// Would `output` (empty: the name made from the seed) replace the file that it is made from?
void refuse_to_replace(const std::string& source, const Job& job) {
  std::error_code failed;
  std::vector<std::string> names = {job.output};
  if (job.output.empty()) names = {"tessera_" + job.seed.text() + ".mp4", "tessera_" + job.seed.text() + ".png"};
  for (const std::string& name : names)
    if (std::filesystem::equivalent(name, source, failed))
      throw Error(name + " would overwrite the file it is made from; choose another name with -o");
}

/// The job of an output's recipe, with what else is on the command line over it.
Job job_from_file(const GenerateOptions& options, const CLI::App& command) {
  const FileRecipe recipe = read_file_recipe(options.from_file, !options.lora_dir.empty());
  Job job = recipe.job;
  const auto given = [&](const std::string& name) { return command.get_option("--" + name)->count() > 0; };
  if (given("preset")) forget_schedule(job);
  const bool levels = given("sigmas") || given("timesteps") || given("timestep-respacing");
  if (given("steps") || levels) {
    if (job.timesteps) job.flow_shift.reset();  // that of no shift, which they need
    job.preset.reset();
    job.steps.reset();
    job.sigmas.reset();
    job.timesteps.reset();
    job.timestep_respacing.reset();
  }
  for (const JobOption& option : job_options())
    if (given(option.name))
      set_job_option(job, option, value_of_all(option, command.get_option("--" + option.name)->results()));
  if (!job.model.empty() && !std::filesystem::exists(job.model))
    throw Error(options.from_file + " was made with the model " + job.model +
                ", which was not found; give its path with --model");
  for (const LoraUse& use : job.loras)
    if (!std::filesystem::exists(use.path))
      throw Error(options.from_file + " was made with the LoRA " + use.path +
                  ", which was not found; give its path with --lora");
  for (const InputPicture& picture : {job.image, job.last_image})
    if (!picture.empty() && !std::filesystem::exists(picture.path))
      throw Error(options.from_file + " was made with the picture " + picture.path +
                  ", which was not found; give its path with --" + (picture == job.image ? "image" : "last-image"));
  refuse_to_replace(options.from_file, job);
  for (const std::string& note : reproduction_notes(recipe, job)) note_listener(job.quiet)(note);
  return job;
}

Job job_of(const GenerateOptions& options, const CLI::App& command) {
  Job job = options.from_file.empty() ? options.job : job_from_file(options, command);
  if (!options.bare_prompt.empty() && !options.job.prompt.empty())
    throw Error("the prompt is given twice, as an argument and with --prompt; give it once");
  if (!options.bare_prompt.empty()) job.prompt = options.bare_prompt;
  if (!options.lora_dir.empty()) take_lora_tags(job, options.lora_dir);
  return job;
}

nlohmann::ordered_json result_json(const GeneratedOutput& output) {
  nlohmann::ordered_json json = {
      {"output", output.path},
      {"files", output.files},
      {"seconds",
       {{"text", output.text_seconds}, {"denoise", output.denoise_seconds}, {"decode", output.decode_seconds}}},
      {"step_cache", to_json(output.step_cache)},
      {"normalizers", to_json(output.normalizers)},
      {"job", output.recipe["job"]}};
  if (output.denoise_bytes > 0)
    json["gpu_bytes"] = {
        {"text", output.text_bytes}, {"denoise", output.denoise_bytes}, {"decode", output.decode_bytes}};
  return json;
}

void print_result(const GeneratedOutput& output, bool json) {
  if (json) {
    std::cout << json_text(result_json(output)) << std::endl;
    return;
  }
  for (const auto& file : output.files) std::cout << file << "\n";
  std::cout.flush();
}

void add_preview_options(CLI::App& command, PreviewRequest& preview) {
  command
      .add_option(
          "--preview", preview.every,
          "Every N steps, write what the result would be now beside the output, as x.preview.png (a video: up to "
          "four of its frames). It is removed when the output is done, and stays when the run is stopped")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->group("Output");
  command
      .add_option(option_names("", {"preview-decoder"}), preview.decoder,
                  "Paint previews with this tiny decoder of TAEHV, e.g. taew2_1.safetensors for Wan 2.1; default: a "
                  "linear map of the latents")
      ->type_name("FILE")
      ->group("Output");
}

void add_profile_option(CLI::App& command, std::string& file) {
  command
      .add_option(
          "--profile", file,
          "Print where the time went, a table on stderr, and write a trace to FILE (JSON for chrome://tracing and "
          "Perfetto). On a GPU each part is waited for, which takes a little longer")
      ->type_name("FILE")
      ->group("Output");
}

/// `work` with a profile in `file`; "" is none.
void profiled(const std::string& file, const Job& job, const std::function<void()>& work) {
  if (file.empty()) return work();
  check_writable(file);
  const at::Device device = open_device(job.device);
  const Profile profile([device] { synchronize(device); });
  work();
  if (!job.quiet) std::cerr << profile.table() << std::flush;
  write_file_atomically(file, profile.trace());
}

void run_generate(const Job& job, const PreviewRequest& preview, const LiveFidRequest& fid_request) {
  if (!preview.decoder.empty() && preview.every < 1)
    throw Error("--preview-decoder paints previews: say how often with --preview N");
  GenerateCallbacks callbacks{.progress = stderr_progress_style(job.quiet),
                              .note = note_listener(job.quiet),
                              .done = [&](const GeneratedOutput& output) { print_result(output, job.json); },
                              .preview = preview};
  if (fid_request.reference.empty()) {
    generate(job, callbacks);
    return;
  }
  const LiveFid fid(fid_request, open_device(job.device), stderr_listener(job.quiet));
  FeatureStatistics statistics(fid.dims());
  callbacks.tap = [&](std::unique_ptr<FrameWriter> writer) {
    return fid.tap(std::move(writer), [&](const at::Tensor& features) { statistics.add(features); });
  };
  generate(job, callbacks);
  print_score(fid.score(statistics), job.json, job.quiet);
}

}  // namespace

void add_generate_command(CLI::App& root) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = root.add_subcommand("generate", "Generate an image or a video from a text prompt");
  command->add_option("PROMPT", options->bare_prompt, "What to show, in quotes")->group("What to render");
  command
      ->add_option(option_names("", {"from-file"}), options->from_file,
                   "Reproduce an output from the recipe in its metadata: a PNG, a JPEG, a video, or saved latents. "
                   "Other options "
                   "override the recipe")
      ->type_name("FILE")
      ->group("What to render");
  add_job_options(*command, options->job);
  add_lora_dir_option(*command, options->lora_dir);
  add_preview_options(*command, options->preview);
  add_profile_option(*command, options->profile);
  add_live_fid_options(*command, options->fid);
  put_help_last(*command, "Output");
  command->footer(
      "[model default] means that the model sets the value; tessera info shows it. Paths (or JSON) go to stdout,\n"
      "everything else to stderr. Exit codes: 0 done, 1 failed, 2 incorrect usage or bad input, 4 bad pixels,\n"
      "130 stopped by Ctrl-C.\n"
      "\n"
      "Examples\n"
      "  tessera generate \"a yellow star moving left on a blue background\" -o star.mp4\n"
      "  tessera generate \"a red heart on a white background\" -o heart.png --seed 7\n"
      "  tessera generate \"a red heart growing on a white background\" -o heart/frame_%04d.png\n"
      "  tessera generate \"a cat on a sofa\" --model Wan2.1-T2V-1.3B-Diffusers --size 832x480 -o cat.mp4 --count 4\n"
      "  tessera generate --from-file heart.png --seed 8 -o heart8.png");
  command->callback([options, command] {
    install_signal_handlers();
    const Job job = job_of(*options, *command);
    check_json_output(job, job.output);
    profiled(options->profile, job, [&] { run_generate(job, options->preview, options->fid); });
  });
}

}  // namespace tessera
