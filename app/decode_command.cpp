#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "core/cancel.h"
#include "core/job.h"
#include "pipelines/generate.h"

namespace tessera {

void add_decode_command(CLI::App& root) {
  struct Options {
    DecodeRequest request;
    bool quiet = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = root.add_subcommand("decode", "Decode latents saved by generate or batch");
  command->add_option("LATENTS", options->request.latents, "Saved latents (.safetensors)")
      ->required()
      ->group("What to decode");
  command
      ->add_option("-o,--output", options->request.output,
                   "x.png, x.jpg, x.mp4, or dir/frame_%04d.png for one file per frame")
      ->required()
      ->type_name("FILE")
      ->group("Output");
  command->add_option("-m,--model", options->request.model, "Model; default: the one named in the recipe")
      ->type_name("DIR")
      ->group("Model and machine");
  command->add_option("--vae-tile", options->request.vae_tile, find_job_option("vae-tile").help)
      ->type_name("PIXELS")
      ->group("Model and machine");
  command->add_option("--dtype", options->request.dtype, "Precision of the autoencoder: auto, fp32, bf16 or fp16")
      ->type_name("NAME")
      ->default_str("auto")
      ->group("Model and machine");
  command->add_option("--device", options->request.device, find_job_option("device").help)
      ->type_name("NAME")
      ->default_str("auto")
      ->group("Model and machine");
  command->add_flag("-q,--quiet", options->quiet, find_job_option("quiet").help)->group("Output");
  put_help_last(*command, "Output");
  command->footer("Examples\n  tessera decode out/latents/cat.safetensors -o cat.mp4");
  command->callback([options] {
    install_signal_handlers();
    const ProgressStyle progress = stderr_progress_style(options->quiet);
    for (const std::string& file : decode_file(options->request, progress, note_listener(options->quiet)))
      std::cout << file << "\n";
    std::cout.flush();
  });
}

}  // namespace tessera
