#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "checkpoints/convert.h"
#include "core/cancel.h"
#include "core/new_folders.h"
#include "core/text.h"
#include "pipelines/families/families.h"

namespace tessera {

void add_convert_command(CLI::App& root) {
  struct Options {
    ConvertRequest request;
    std::string dtype = "keep", layout = "diffusers";
    std::vector<std::string> loras;
    bool quiet = false;
  };
  auto options = std::make_shared<Options>();
  ConvertRequest& request = options->request;
  CLI::App* command = root.add_subcommand(
      "convert", "Convert a model that tessera can open to the diffusers layout, or Wan-MHLA to its repository's");
  command
      ->add_option("IN", request.input,
                   "Model to read: a folder or checkpoint of Wan 2.1, Wan-MHLA, DiT, DiT-MHLA, or diffusers; or one "
                   "network: a component's folder, or a file of an autoencoder, a text encoder or a classifier")
      ->required()
      ->group("What to convert");
  command->add_option("OUT", request.output, "Folder to create; it must not exist yet")->required()->group("Output");
  command
      ->add_option(
          "--dtype", options->dtype,
          "Precision of the weights: keep, fp32, bf16 or fp16; or, for the matrices of transformer and text encoder, " +
              joined(quantized_names()))
      ->type_name("NAME")
      ->default_str("keep")
      ->group("Output");
  command
      ->add_option("--layout", options->layout,
                   "diffusers; or wan-mhla: the transformer of a Wan-MHLA model as the MHLA repository keeps it, "
                   "model.safetensors and mhla.yaml")
      ->type_name("NAME")
      ->check(CLI::IsMember({"diffusers", "wan-mhla"}))
      ->capture_default_str()
      ->group("Output");
  command
      ->add_option("--vae", request.options.vae,
                   "Autoencoder (folder or file) for a DiT checkpoint, which does not include one")
      ->type_name("PATH")
      ->group("What to convert");
  command->add_option(option_names("", {"block-size"}), request.options.block_size, find_job_option("block-size").help)
      ->type_name("N")
      ->group("What to convert");
  command
      ->add_option("--heads", request.classifier.heads,
                   "Attention heads, for an MHLA classifier whose width is not one of DeiT's")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->group("What to convert");
  command
      ->add_option(option_names("", {"focusing-factor"}), request.classifier.power,
                   "Focusing factor of a FLatten classifier; default: 3")
      ->type_name("X")
      ->check(CLI::Range(0.1, 64.0))
      ->group("What to convert");
  command
      ->add_option("--lora", options->loras,
                   "LoRA to merge into the weights, FILE or FILE:STRENGTH; may be given several times (docs/lora.md)")
      ->type_name("FILE[:STRENGTH]")
      ->group("What to convert");
  command->add_flag("--incomplete", request.incomplete, "Write the parts that exist even if others are missing")
      ->group("Output");
  command->add_flag("-q,--quiet", options->quiet, find_job_option("quiet").help)->group("Output");
  put_help_last(*command, "Output");
  command->footer(
      "Every weight is read back and compared before the folder gets its name; a failed run leaves nothing behind.\n\n"
      "Examples\n"
      "  tessera convert Wan2.1-T2V-1.3B wan-1.3b --dtype bf16\n"
      "  tessera convert Wan2.1-T2V-14B wan-14b --dtype q4_k\n"
      "  tessera convert DiT-XL-2-256x256.pt dit-xl --vae sd-vae-ft-mse\n"
      "  tessera convert model_best.pth.tar deit --dtype fp16");
  command->callback([options] {
    install_signal_handlers();
    set_storage(options->request, options->dtype);
    options->request.mhla_release = options->layout == "wan-mhla";
    if (!options->loras.empty()) {
      Job job;
      const JobOption& lora = find_job_option("lora");
      set_job_option(job, lora, value_of_all(lora, options->loras));
      options->request.loras = job.loras;
    }
    const std::filesystem::path& output = options->request.output;
    const NewFolders folders(output.has_filename() ? output : output.parent_path());
    convert_model(options->request, families(), note_listener(options->quiet));
    std::cout << options->request.output.string() << std::endl;
  });
}

}  // namespace tessera
