#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "core/error.h"
#include "core/paths.h"
#include "media/media_files.h"
#include "media/picture.h"
#include "pipelines/classifier.h"

namespace tessera {
namespace {

struct ClassifyOptions {
  ClassifierOptions model;
  std::vector<std::string> images;
  int64_t top = 5;
  bool json = false;
};

nlohmann::ordered_json to_json(const std::string& image, const std::vector<ClassScore>& scores) {
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  for (const ClassScore& score : scores)
    classes.push_back({{"class", score.index}, {"name", score.name}, {"probability", score.probability}});
  return {{"image", image}, {"classes", classes}};
}

void print(const std::string& image, const std::vector<ClassScore>& scores) {
  std::cout << image << "\n";
  for (const ClassScore& score : scores) {
    char percent[16];
    std::snprintf(percent, sizeof percent, "%6.2f%%", 100 * score.probability);
    const std::string number = "class " + std::to_string(score.index);
    std::cout << "  " << percent << "  " << (score.name.empty() ? number : score.name + " (" + number + ")") << "\n";
  }
}

/// The pictures that are named, and those of folders that are.
std::vector<std::string> find_pictures(const std::vector<std::string>& named) {
  std::vector<std::string> pictures;
  for (const std::string& name : named) {
    if (!is_folder(name)) {
      pictures.push_back(name);
      continue;
    }
    const MediaFiles media = find_media(name, {Medium::kPicture});
    if (!media.note.empty()) print_note(media.note);
    if (media.files.empty())
      throw Error("there is no picture in or below " + name + " (looked for " + extensions_read_as(Medium::kPicture) +
                  "); check the path");
    for (const auto& file : media.files) pictures.push_back(file.string());
  }
  return pictures;
}

/// Goes on after a picture that cannot be read, which is named, and says at the end how many there were.
void classify(const ClassifyOptions& options) {
  const std::vector<std::string> pictures = find_pictures(options.images);
  const Classifier classifier(options.model);
  size_t unread = 0;
  for (const std::string& picture : pictures) {
    at::Tensor pixels;
    try {
      pixels = read_picture(picture);
    } catch (const Error& error) {
      if (pictures.size() == 1) throw;
      print_note(error.what());
      ++unread;
      continue;
    }
    const auto scores = classifier.classify(pixels, options.top);
    if (options.json)
      std::cout << to_json(picture, scores).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    else
      print(picture, scores);
  }
  if (unread > 0)
    throw Error(
        std::to_string(unread) + " of " + std::to_string(pictures.size()) + " pictures cannot be read, see above",
        unread == pictures.size() ? ExitCode::kUsage : ExitCode::kPartlyDone);
}

}  // namespace

void add_classify_command(CLI::App& root) {
  auto options = std::make_shared<ClassifyOptions>();
  CLI::App* command = root.add_subcommand("classify", "Classify images with a linear-attention DeiT");
  command->add_option("IMAGE", options->images, "Image files, or folders of them (searched recursively)")
      ->required()
      ->group("What to classify");
  command
      ->add_option(
          "--weights", options->model.weights,
          "DeiT of MHLA or FLatten: .safetensors, a PyTorch archive, or a folder written by tessera convert or "
          "tessera train classifier")
      ->required()
      ->type_name("PATH")
      ->group("Model");
  command
      ->add_option(
          "--labels", options->model.labels,
          "Class names, one per line; default: labels.txt in the folder of --weights, ImageNet's for 1,000 classes")
      ->type_name("FILE")
      ->group("Model");
  command
      ->add_option("--heads", options->model.heads,
                   "Attention heads, for an MHLA model whose width is not one of DeiT's")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->group("Model");
  command->add_option("--focusing-factor", options->model.power, "Focusing factor of a FLatten model; default: 3")
      ->type_name("X")
      ->check(CLI::Range(0.1, 64.0))
      ->group("Model");
  command->add_option("--dtype", options->model.dtype, "fp32, bf16, fp16 (GPU) or auto")
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Model");
  command->add_option("--device", options->model.device, find_job_option("device").help)
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Model");
  command->add_option("--top", options->top, "Number of classes to print")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str()
      ->group("Output");
  command->add_flag("--json", options->json, "Print one JSON object per image")->group("Output");
  put_help_last(*command, "Output");
  command->callback([options] { classify(*options); });
}

}  // namespace tessera
