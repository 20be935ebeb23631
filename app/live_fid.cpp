#include "app/live_fid.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <iostream>
#include <map>

#include "app/command_line.h"
#include "batch/manifest.h"
#include "core/cancel.h"
#include "core/device.h"
#include "core/error.h"
#include "media/image_io.h"
#include "metrics/frechet.h"
#include "metrics/image_features.h"
#include "metrics/inception_extractor.h"
#include "metrics/torchscript_extractor.h"
#include "pipelines/output.h"
#include "weights/safetensors.h"

namespace fs = std::filesystem;

namespace tessera {
namespace {

constexpr int64_t kSide = 299;     // what the protocols resize to
constexpr size_t kBatch = 16;      // pictures a call of the network
constexpr int64_t kEnough = 2048;  // features of the Inception, and so the least that give a full covariance

void say(const std::string& text) {
  std::cerr << "tessera: " + text + "\n" << std::flush;
}

/// The network in the precision that the reference was made in, as tessera fid chooses it.
std::unique_ptr<Extractor> open_extractor(const LiveFidOptions& options, const Protocol& protocol,
                                          const StatisticsFile& reference, at::Device device) {
  if (!options.extractor.empty()) {
    const PublishedWeights any{"a TorchScript program", {}, "", "", "--fid-extractor FILE"};
    const FoundWeights found = find_weights(any, options.extractor);
    return std::make_unique<TorchScriptExtractor>(found.path, found.sha256, "", at::IntArrayRef{1, 3, kSide, kSide},
                                                  device);
  }
  const FoundWeights found = find_inception_weights(options.weights);
  const auto dtype = reference.made_by.find("dtype");
  const bool fast = dtype != reference.made_by.end() && dtype->second == "bfloat16" && has_fast_bfloat16(device);
  return std::make_unique<InceptionExtractor>(read_inception_weights(found.path), found.sha256, protocol,
                                              reference.gaussian.mean.numel(), fast ? at::kBFloat16 : at::kFloat,
                                              device);
}

fs::path features_path(const fs::path& folder, const BatchJob& job) {
  return folder / "features" / (job.name + ".safetensors");
}

/// The kept features of a job; undefined when there are none of this recipe and this network.
at::Tensor kept_features(const fs::path& path, std::map<std::string, std::string> made_by, const std::string& hash) {
  if (!fs::exists(path)) return {};
  const TensorFile file = read_safetensors(path);
  made_by["job"] = hash;
  for (const auto& [key, value] : made_by) {
    const auto said = file.metadata().find(key);
    if (said == file.metadata().end() || said->second != value) return {};
  }
  return file.at("features");
}

}  // namespace

/// Passes frames on and runs those that have gathered through the network.
class LiveFidWriter : public FrameWriter {
 public:
  LiveFidWriter(const LiveFid& fid, std::unique_ptr<FrameWriter> writer, LiveFid::Finished finished)
      : fid_(fid), writer_(std::move(writer)), finished_(std::move(finished)) {}

  void write(const at::Tensor& frame) override {
    writer_->write(frame);
    waiting_.push_back(to_bytes(frame.cpu()));
    if (waiting_.size() == kBatch) flush();
  }
  void finish() override {
    flush();
    writer_->finish();
    finished_(at::cat(done_));
  }
  std::string note() const override { return writer_->note(); }

 private:
  void flush() {
    if (!waiting_.empty()) done_.push_back(fid_.features(waiting_));
    waiting_.clear();
  }

  const LiveFid& fid_;
  std::unique_ptr<FrameWriter> writer_;
  LiveFid::Finished finished_;
  std::vector<at::Tensor> waiting_, done_;
};

void add_live_fid_options(CLI::App& command, LiveFidOptions& options) {
  const std::string group = "Scoring while rendering";
  CLI::Option* reference =
      command
          .add_option(option_names("", {"fid-reference"}), options.reference,
                      "Print the FID of all rendered pictures and frames to these statistics (see tessera fid)")
          ->type_name("FILE.npz")
          ->group(group);
  CLI::Option* weights = command
                             .add_option(option_names("", {"fid-weights"}), options.weights,
                                         "The FID Inception's file; without it from the cache")
                             ->type_name("FILE")
                             ->needs(reference)
                             ->group(group);
  command
      .add_option(option_names("", {"fid-extractor"}), options.extractor,
                  "A TorchScript program in Inception's place, which this runs; the score is then no FID")
      ->type_name("FILE")
      ->needs(reference)
      ->excludes(weights)
      ->group(group);
  command
      .add_option(option_names("", {"fid-protocol"}), options.protocol,
                  "How pictures are resized: pytorch-fid, torch-fidelity or clean")
      ->type_name("NAME")
      ->needs(reference)
      ->capture_default_str()
      ->group(group);
}

LiveFid::LiveFid(const LiveFidOptions& options, at::Device device)
    : options_(options),
      protocol_(&find_protocol(options.protocol)),
      reference_(read_statistics(options.reference)),
      extractor_(open_extractor(options, *protocol_, reference_, device)) {
  if (!check_comparable(reference_, options.reference, dims(), made_by()))
    say(options.reference + " does not say how it was made; the FID holds only if it was this network and protocol");
  frechet_side(reference_.gaussian, options.reference);  // what is no covariance fails before the rendering
}

std::map<std::string, std::string> LiveFid::made_by() const {
  return {{"protocol", protocol_->name}, {"weights", extractor_->info().sha256}, {"dtype", extractor_->info().dtype}};
}

at::Tensor LiveFid::features(const std::vector<at::Tensor>& pictures) const {
  std::vector<at::Tensor> resized;
  for (const at::Tensor& picture : pictures) resized.push_back(protocol_->resize(picture, kSide));
  return extractor_->features(at::stack(resized)).pool.to(at::kCPU, at::kFloat);
}

std::unique_ptr<FrameWriter> LiveFid::tap(std::unique_ptr<FrameWriter> writer, Finished finished) const {
  return std::make_unique<LiveFidWriter>(*this, std::move(writer), std::move(finished));
}

std::unique_ptr<FrameWriter> LiveFid::tap(const BatchJob& job, const fs::path& folder,
                                          std::unique_ptr<FrameWriter> writer) const {
  auto metadata = made_by();
  metadata["job"] = job.hash;
  return tap(std::move(writer), [path = features_path(folder, job), metadata](const at::Tensor& found) {
    fs::create_directories(path.parent_path());
    write_safetensors(path, {{"features", found}}, metadata);
  });
}

FeatureStatistics LiveFid::collect(const BatchPlan& plan, const fs::path& folder,
                                   const std::function<void(const std::string&)>& note) const {
  const Manifest manifest(manifest_path(folder), Manifest::Access::kRead);
  FeatureStatistics statistics(dims());
  std::vector<ImageSource> files;
  int64_t without = 0;
  std::map<std::string, const BatchJob*> jobs;  // by id: one order, however the plan was arranged for rendering
  for (const BatchJob& job : plan.jobs) jobs[job.id] = &job;
  for (const auto& [id, job] : jobs) {
    throw_if_canceled();
    const ManifestEntry* entry = manifest.find(id);
    if (!entry || entry->status != "done" || entry->hash != job->hash) continue;
    const at::Tensor kept = kept_features(features_path(folder, *job), made_by(), job->hash);
    if (kept.defined()) {
      statistics.add(kept);
      continue;
    }
    ++without;
    for (const std::string& file : output_files(job->job, 0))
      files.push_back({file, "", output_kind(job->job.output) == OutputKind::kVideo});
  }
  if (without == 0) return statistics;
  note(std::to_string(without) +
       " outputs were rendered without --fid-reference: their pixels are read from their files, which for videos are "
       "those behind the codec");
  ImageSetOptions set;
  set.side = kSide;
  statistics.merge(measure_images(files, *extractor_, *protocol_, set, [](int64_t) { throw_if_canceled(); }).all);
  return statistics;
}

void LiveFid::report(const FeatureStatistics& statistics) const {
  const ExtractorInfo& info = extractor_->info();
  const int64_t count = statistics.count();
  if (count < 2)
    throw Error("FID needs at least 2 rendered pictures or frames, got " + std::to_string(count), ExitCode::kFailed);
  const double score = frechet_distance(statistics.gaussian(CovarianceDivisor::kCountMinusOne), reference_.gaussian);
  if (count < kEnough)
    say(std::to_string(count) + " pictures are few for FID: below " + std::to_string(kEnough) +
        " it is far too high and moves with the number; compare only with scores of as many");
  if (options_.json) {
    const nlohmann::ordered_json fid{
        {"score", score},
        {"is_fid", info.is_standard},
        {"pictures", count},
        {"protocol", protocol_->name},
        {"resize", protocol_->resize_words},
        {"reference", options_.reference},
        {"pixels", "as rendered, before any video codec"},
        {"extractor", {{"name", info.name}, {"sha256", info.sha256}, {"dtype", info.dtype}, {"dims", info.dims}}}};
    std::cout << nlohmann::ordered_json{{"fid", fid}}.dump() << std::endl;
    return;
  }
  char number[64];
  std::snprintf(number, sizeof number, "%.6g", score);
  say((info.is_standard ? "FID " : "Frechet distance (not FID: another network) ") + std::string(number) + " of " +
      std::to_string(count) + " pictures to " + options_.reference + "; protocol " + protocol_->name + ": " +
      protocol_->resize_words + "; " + info.name + " in " + info.dtype + ", SHA-256 " + info.sha256.substr(0, 12));
}

}  // namespace tessera
