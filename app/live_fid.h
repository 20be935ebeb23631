#pragma once

#include <ATen/core/Tensor.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "batch/plan.h"
#include "media/frame_writer.h"
#include "metrics/extractor.h"
#include "metrics/protocol.h"
#include "metrics/statistics_file.h"

namespace tessera {

/// `--fid-reference` and what goes with it.
struct LiveFidOptions {
  std::string reference;  ///< statistics (.npz) to compare with; empty: no score is wanted
  std::string weights, extractor;
  std::string protocol = "pytorch-fid";
  bool json = false;
};

void add_live_fid_options(CLI::App& command, LiveFidOptions& options);

/// Scores pictures while they are rendered: every frame goes through the network as the bytes that are written, before
/// a video codec touches it.
class LiveFid {
 public:
  /// Opens the reference and the network, in the precision that the reference was made in. Throws Error when one is
  /// missing or they do not fit each other.
  LiveFid(const LiveFidOptions& options, at::Device device);

  /// Takes the features of one finished output, [frames, D] float32.
  using Finished = std::function<void(const at::Tensor& features)>;
  /// A writer that passes everything on to `writer` and, once that is complete, tells `finished`. This object must
  /// outlive it.
  std::unique_ptr<FrameWriter> tap(std::unique_ptr<FrameWriter> writer, Finished finished) const;

  /// The writer of a batch's job, whose features are kept beside the outputs, in features/, once it is complete.
  std::unique_ptr<FrameWriter> tap(const BatchJob& job, const std::filesystem::path& folder,
                                   std::unique_ptr<FrameWriter> writer) const;
  /// Statistics of all outputs of `plan` that the folder's manifest has as done, in the order of their ids: from the
  /// kept features, and from the files of outputs that were rendered without this option (`note` says how many).
  FeatureStatistics collect(const BatchPlan& plan, const std::filesystem::path& folder,
                            const std::function<void(const std::string&)>& note) const;

  /// Prints the score with its protocol: to stderr in words, or as one JSON object {"fid": ...} to stdout. Throws Error
  /// (failed) when there are fewer than 2 pictures.
  void report(const FeatureStatistics& statistics) const;
  int64_t dims() const { return extractor_->info().dims; }

 private:
  std::map<std::string, std::string> made_by() const;
  at::Tensor features(const std::vector<at::Tensor>& pictures) const;
  friend class LiveFidWriter;

  LiveFidOptions options_;
  const Protocol* protocol_;
  StatisticsFile reference_;
  std::unique_ptr<Extractor> extractor_;
};

}  // namespace tessera
