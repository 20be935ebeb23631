#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "app/train_command.h"
#include "core/error.h"
#include "core/version.h"

namespace {

using tessera::ExitCode;

int report(const std::string& message, ExitCode code) {
  std::cout.flush();
  tessera::print_note(message);
  return static_cast<int>(code);
}

int run(int argc, char** argv) {
  CLI::App root("tessera generates images and videos from text with linear-attention diffusion transformers.",
                "tessera");
  root.formatter(std::make_shared<tessera::HelpFormatter>());
  root.set_version_flag("--version", "tessera " + tessera::program_version(), "Print the version");
  tessera::put_help_last(root, "Options");
  root.require_subcommand(0, 1);
  tessera::add_generate_command(root);
  tessera::add_batch_command(root);
  tessera::add_gallery_command(root);
  tessera::add_decode_command(root);
  tessera::add_info_command(root);
  tessera::add_convert_command(root);
  tessera::add_classify_command(root);
  tessera::add_fid_command(root);
  tessera::add_fvd_command(root);
  tessera::add_samplers_command(root);
  tessera::add_train_command(root);
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
  try {
    return run(argc, argv);
  } catch (const tessera::Error& error) {
    return report(error.what(), error.code());
  } catch (const c10::Error& error) {
    return report(error.what_without_backtrace(), ExitCode::kFailed);
  } catch (const std::bad_alloc&) {
    return report("out of memory; try a smaller size or fewer frames", ExitCode::kFailed);
  } catch (const std::exception& error) {
    return report(error.what(), ExitCode::kFailed);
  }
}
