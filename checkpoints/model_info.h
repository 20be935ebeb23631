#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints/family.h"
#include "checkpoints/file_info.h"
#include "core/job.h"
#include "models/attention/attention.h"
#include "weights/trained_on.h"

namespace tessera {

/// One part of a model as its files have it.
struct PartInfo {
  std::string name, class_name;
  int64_t bytes = 0;                           ///< of its files
  int64_t parameters = 0;                      ///< numbers in its weights; 0 without weights
  std::map<std::string, int64_t> dtypes = {};  ///< how the numbers are stored: dtype -> how many
  std::string problem = {};                    ///< see weight_problem; "" too for a part without weights
};

/// What `tessera info` shows of a model.
struct ModelInfo {
  std::filesystem::path path;
  std::string layout;  ///< see recognize_model; "component": one part by itself; "file": see obstacle and file
  std::string class_name;
  std::vector<PartInfo> parts;
  std::vector<std::string> missing;    ///< what it lacks, a sentence each, file by file
  std::vector<std::string> notes;      ///< for the user
  std::string obstacle;                ///< why this program cannot run the model; "" when it can or when parts miss
  std::vector<std::string> attention;  ///< per layer of the transformer: "softmax", "mhla", "linear" or "focused"
  std::string mhla;                    ///< the settings of its MHLA layers in words; "" without such layers
  std::string tokens;                  ///< the tokens of a picture or clip of the default size, in words
  std::optional<Job> defaults;         ///< what it renders when not told otherwise, if it runs
  std::optional<TrainedOn> trained;    ///< what it says it was trained on, if it runs
  std::optional<FileInfo> file;        ///< what the file holds, for a model in one file

  bool runs() const { return obstacle.empty() && missing.empty() && layout != "component"; }
};

/// Reads headers only: no weights are loaded. nullopt for a file that is no model (see read_file_info). Throws Error
/// for a folder that is no model, and when a config is malformed.
std::optional<ModelInfo> read_model_info(const std::filesystem::path& given, Families families,
                                         const ModelOptions& options = {});

// For the families' descriptions.

/// Adds the kinds of a denoiser's layers and the settings of its MHLA layers.
void describe_attention(const AttentionConfig& attention, int64_t layers, ModelInfo& info);
/// "21 x 30 x 50 = 31,500 at 800x480, 81 frames; in blocks of 7 x 6 x 5" for a grid of tokens.
std::string tokens_text(const Extent3& grid, const std::string& size, const AttentionConfig& attention,
                        const ModelInfo& info);

/// For --json.
nlohmann::ordered_json to_json(const ModelInfo& info);

/// For people: several lines, each ended; with `all_tensors` one for every tensor of a model in one file.
std::string to_text(const ModelInfo& info, bool all_tensors);

}  // namespace tessera
