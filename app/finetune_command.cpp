#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "app/command_line.h"
#include "app/train_command.h"
#include "checkpoints/bundled_model.h"
#include "checkpoints/hub_cache.h"
#include "core/cancel.h"
#include "core/dtype.h"
#include "core/memory_cache.h"
#include "core/ranks.h"
#include "core/text.h"
#include "training/export.h"
#include "training/finetune.h"
#include "training/linearize.h"
#include "training/prepare.h"
#include "training/scene_files.h"

namespace tessera {
namespace {

struct PrepareOptions {
  PrepareRequest request;
  std::string model, fps;
  std::vector<std::string> data;
  bool quiet = false;
  std::shared_ptr<TrainDevice> device;
};

void run_preparation(PrepareOptions& options) {
  install_signal_handlers();
  PrepareRequest& request = options.request;
  request.model = options.model.empty() ? find_bundled_model() : resolve_hub_cache(options.model);
  if ((request.size.width == 0) != (request.size.height == 0))
    throw Error("--width and --height go together: give both");
  if (!options.fps.empty()) {
    const std::optional<FrameRate> rate = parse_frame_rate(options.fps);
    if (!rate) throw Error("--fps " + options.fps + ": want a rate such as 16, 23.976 or 30000/1001");
    request.fps = *rate;
  }
  request.device = options.device->open();
  request.data.assign(options.data.begin(), options.data.end());
  request.progress = stderr_progress_style(options.quiet);
  const PrepareResult result = prepare_data(request);
  const auto tell = note_listener(options.quiet);
  for (const DroppedItem& item : result.cache.dropped) tell("dropped " + item.name + ": " + item.reason);
  for (const std::string& note : result.notes) tell(note);
  if (result.enlarged > 0)
    tell(counted(result.enlarged, "item was", "items were") + " smaller than wanted and enlarged");
  tell(counted(static_cast<int64_t>(result.cache.clips.size()), "clip") + ": " + std::to_string(result.encoded) +
       " encoded now, " + std::to_string(result.kept) + " were there; " +
       counted(static_cast<int64_t>(result.cache.dropped.size()), "item") + " dropped");
  std::printf("%s\n", request.cache.c_str());
}

void add_prepare(CLI::App& train) {
  auto options = std::make_shared<PrepareOptions>();
  PrepareRequest& request = options->request;
  CLI::App* command = train.add_subcommand(
      "prepare", "Cut and encode pictures and videos with captions for training; goes on where it was interrupted");
  command
      ->add_option("DATA", options->data,
                   "A folder of files with NAME.txt beside them, or with metadata.jsonl or metadata.csv; a .jsonl file "
                   "with image_path or video_path and caption; a .tar or .zip of KEY.mp4 with KEY.txt or KEY.json")
      ->required();
  command->add_option("--cache", request.cache, "Folder to fill with encoded clips and captions")->required();
  command->add_option("-m,--model", options->model,
                      "Model whose autoencoder and text encoder are used; default: bundled");
  command
      ->add_option("--width", request.size.width,
                   "Frames have about width x height pixels, in their own ratio; default: the model's")
      ->check(CLI::Range(1, 16384));
  command->add_option("--height", request.size.height, "See --width")->check(CLI::Range(1, 16384));
  command
      ->add_option("--frames", request.frames,
                   "Frames of a clip, 4n+1 for Wan; longer videos give several; default: the model's")
      ->check(CLI::Range(1, 100000));
  command->add_option("--min-frames", request.least_frames, "Shorter videos, and shorter ends of videos, are not used")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--fps", options->fps, "Videos are brought to this rate; default: the model's");
  command->add_option("--dtype", request.dtype, "Precision of the text encoder")
      ->check(CLI::IsMember(dtype_choices("auto")))
      ->capture_default_str();
  options->device = add_train_device_option(*command);
  command->add_flag("--skip-damaged", request.skip_damaged,
                    "Leave damaged files out; else they are an error at the end");
  command->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
  command->callback([options] {
    keep_freed_memory();
    run_preparation(*options);
  });
}

void add_scenes(CLI::App& train) {
  auto plan = std::make_shared<SceneFilesPlan>();
  auto folder = std::make_shared<std::string>();
  CLI::App* command =
      train.add_subcommand("scenes", "Write drawn clips and pictures with captions, to try prepare and training with");
  command->add_option("FOLDER", *folder, "Folder to fill")->required();
  command->add_option("--clips", plan->clips, "Number of clips")->check(CLI::Range(0, 9999))->capture_default_str();
  command->add_option("--stills", plan->stills, "Number of pictures")
      ->check(CLI::Range(0, 9999))
      ->capture_default_str();
  command->add_option("--seed", plan->seed, "Another seed gives other scenes")->capture_default_str();
  command->add_option("--side", plan->side, "Pixels of a side")->check(CLI::Range(16, 4096))->capture_default_str();
  command->add_option("--frames", plan->frames, "Frames of a clip")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--fps", plan->fps, "Frames per second of a clip")
      ->check(CLI::Range(1, 240))
      ->capture_default_str();
  command->callback([plan, folder] {
    install_signal_handlers();
    plan->folder = *folder;
    write_scene_files(*plan);
    std::printf("%s\n", folder->c_str());
  });
}

void add_tuning(CLI::App& train, const char* name, const char* help, TuneMethod method) {
  auto config = std::make_shared<std::string>();
  CLI::App* command = train.add_subcommand(name, help);
  command->add_option("--config", *config, "JSON file; see docs/training.md")->required();
  const auto device = add_train_device_option(*command);
  command->callback([config, method, device] {
    keep_freed_memory();
    install_signal_handlers();
    FinetuneConfig read = FinetuneConfig::read(*config, method);
    const Ranks ranks = find_ranks(environment_variables());
    read.run.device = device->open(ranks.local_rank);
    make_folder(read.run.folder);
    FinetuneTrainer(read, ranks.several() ? RankGroup::meet(ranks, read.run.folder) : nullptr).train();
  });
}

}  // namespace

void add_finetune_commands(CLI::App& train) {
  add_scenes(train);
  add_prepare(train);
  add_tuning(train, "lora", "Train a LoRA on prepared data; continues from its checkpoint if there is one",
             TuneMethod::kLora);
  add_tuning(train, "full", "Train all weights of a transformer on prepared data; continues from its checkpoint",
             TuneMethod::kFull);
  auto config = std::make_shared<std::string>();
  CLI::App* command = train.add_subcommand(
      "linearize", "Turn a model with softmax attention into one with MHLA: distill its layers, then train the whole");
  command->add_option("--config", *config, "JSON file; see docs/training.md")->required();
  const auto device = add_train_device_option(*command);
  command->callback([config, device] {
    keep_freed_memory();
    if (find_ranks(environment_variables()).several())
      throw Error("train linearize works in one process; run it without a launcher");
    LinearizeConfig read = LinearizeConfig::read(*config);
    read.distill.run.device = read.tune.run.device = device->open();
    linearize(read);
  });
}

}  // namespace tessera
