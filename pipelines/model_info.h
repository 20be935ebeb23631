#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// One part of a model directory as its files have it.
struct PartInfo {
  std::string name, class_name;
  int64_t bytes = 0;                      ///< of all files in its folder
  int64_t parameters = 0;                 ///< numbers in its weights; 0 without weights
  std::map<std::string, int64_t> dtypes;  ///< how the numbers are stored: dtype -> how many
};

/// What `tessera info` shows.
struct ModelInfo {
  std::filesystem::path path;
  std::string class_name;
  std::vector<PartInfo> parts;
  std::string obstacle;                ///< why this program cannot run the model; "" when it can
  std::vector<std::string> attention;  ///< per layer of the transformer: "softmax" or "mhla"
  std::string mhla;                    ///< the settings of its MHLA layers in words; "" without such layers
  std::optional<Job> defaults;         ///< what it renders when not told otherwise, if it runs
};

/// Reads the headers of every file. Throws Error when there is no model directory or a weights file is damaged.
ModelInfo read_model_info(const std::filesystem::path& path);

/// For --json.
nlohmann::ordered_json to_json(const ModelInfo& info);

/// For people: several lines, each ended.
std::string to_text(const ModelInfo& info);

}  // namespace tessera
