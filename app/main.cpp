#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/train_command.h"
#include "core/error.h"
#include "core/memory_cache.h"
#include "core/out_of_memory.h"
#include "core/version.h"

namespace {

using tessera::ExitCode;

int report(const std::string& message, ExitCode code) {
  std::cout.flush();
  tessera::print_note(message);
  return static_cast<int>(code);
}

/// What to try when a command runs out of memory.
std::string memory_advice(const std::string& command) {
  if (command == "generate" || command == "batch" || command == "analyze") return tessera::kSmallerRender;
  if (command == "decode") return "try --vae-tile 256 or --dtype bf16";
  if (command == "fid") return "try a smaller --batch-size or fewer --threads";
  if (command == "fvd") return "try fewer --frames";
  if (command == "train") return "make batches or the model smaller in the config file";
  return "close other programs or use a machine with more memory";
}

int run(int argc, char** argv) {
  CLI::App root("tessera generates images and videos from text with linear-attention diffusion transformers.",
                "tessera");
  root.formatter(std::make_shared<tessera::HelpFormatter>());
  root.set_version_flag("-v,-V,--version", "tessera " + tessera::program_version(), "Print the version");
  tessera::put_help_last(root, "Options");
  root.require_subcommand(0, 1);
  tessera::add_generate_command(root);
  tessera::add_batch_command(root);
  tessera::add_gallery_command(root);
  tessera::add_decode_command(root);
  tessera::add_info_command(root);
  tessera::add_convert_command(root);
  tessera::add_analyze_command(root);
  tessera::add_classify_command(root);
  tessera::add_fid_command(root);
  tessera::add_fvd_command(root);
  tessera::add_samplers_command(root);
  tessera::add_train_command(root);
  tessera::add_help_command(root);
  root.footer(
      "Examples\n"
      "  tessera generate \"a yellow star moving left on a blue background\" -o star.mp4\n"
      "  tessera generate --help\n"
      "  tessera info path/to/Wan2.1-T2V-1.3B-Diffusers");
  if (argc < 2) {
    std::cerr << root.help();
    return static_cast<int>(ExitCode::kUsage);
  }
  tessera::run_command_line(root, argc, argv);
  std::cout.flush();
  if (!std::cout) return report("cannot write to stdout", ExitCode::kFailed);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

int main(int argc, char** argv) {
  // MKL's results then have the same bits for any number of threads, at no measurable cost.
  setenv("MKL_CBWR", "AUTO,STRICT", 0);
  tessera::install_memory_cache();
  try {
    return run(argc, argv);
  } catch (const tessera::Error& error) {
    return report(error.what(), error.code());
  } catch (const std::exception& error) {
    if (const auto memory = tessera::out_of_memory_text(error, memory_advice(argc > 1 ? argv[1] : "")))
      return report(*memory, ExitCode::kFailed);
    const auto* broken = dynamic_cast<const c10::Error*>(&error);
    return report(broken ? broken->what_without_backtrace() : error.what(), ExitCode::kFailed);
  }
}
