#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "batch/prompt_file.h"

namespace tessera {

/// How a batch names its outputs: plainly, or as the evaluator of a benchmark reads them (docs/benchmarks.md).
struct Layout {
  /// Where a sample stands.
  struct Place {
    int64_t row;     ///< of its prompt in the file
    int64_t sample;  ///< among those of its prompt
    int64_t number;  ///< among all samples of the file
    std::string extension;
  };

  std::string name;       ///< as --layout takes it
  std::string benchmark;  ///< for messages; "" for plain names
  int64_t count = 1;      ///< samples of a prompt, unless the file or a flag says otherwise: what published scores use
  std::vector<std::string> formats = {};  ///< what the evaluator opens, the default first; empty: any
  std::string read = {};  ///< regular expression of the files, relative to the output folder, that the evaluator scores
  /// The output of a sample relative to the output folder, any % itself. Throws Error when the evaluator could not read
  /// it.
  std::string (*output)(const PromptJob& job, const Place& place) = nullptr;
  /// The file that describes a prompt to the evaluator; unset: none. Throws Error when the prompt lacks what it needs.
  SideFile (*side_file)(const PromptJob& job, const Place& place) = nullptr;
  bool tiled = false;      ///< all samples of a prompt in one square tile of square pictures
  bool by_prompt = false;  ///< the prompt alone names the outputs: letters' case counts, equal prompts share them
};

/// Throws Error with the nearest name.
const Layout& find_layout(const std::string& name);

/// "flat, geneval, ...": every name, for --help.
std::string layout_names();

/// Names the outputs of a prompt file as `layout` has it, puts the samples of a tile together, and leaves out the
/// repeated prompts of a layout where they share their outputs. `format` is what --format says, "" for nothing. Every
/// prompt that the evaluator could not read is left out and added to the file's mistakes. Throws Error for a format
/// that it does not open.
void arrange_outputs(const Layout& layout, PromptFile& file, const std::string& format);

}  // namespace tessera
