#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/manifest_lines.h"
#include "pipelines/renderer.h"

namespace tessera {

/// The outcome of one job: a line of manifest.jsonl.
struct ManifestEntry {
  std::string id;
  std::string status;             ///< "done", "failed" or "bad_pixels"
  std::string hash;               ///< of the recipe and the model, see job_hash (batch/plan.h)
  std::string output;             ///< relative to the output folder
  std::string sha256;             ///< of the output's bytes (all frames one after another); "" unless done
  std::string latents;            ///< what is kept for another try, relative to the output folder; may be ""
  std::string error;              ///< "" when done
  nlohmann::ordered_json recipe;  ///< empty for entries read back
  double text_seconds = 0, denoise_seconds = 0, decode_seconds = 0;
  StepCacheReport step_cache;    ///< in the line when calls were skipped
  NormalizerReport normalizers;  ///< in the line when the guard acted
  int64_t samples = 1;           ///< pictures of a tiled output, with seeds from that of the recipe on
  nlohmann::ordered_json metadata =
      nlohmann::ordered_json::object();  ///< of the prompt's row; in the line when there is any

  /// Counts what happened while one of the samples was denoised.
  void add(const DenoiseResult& result);
};

/// The record of a batch: one JSON object a line, each flushed to the disk before the next job begins.
class Manifest {
 public:
  enum class Access {
    kRead,  ///< leaves the file as it is; another process may be writing it
    kWrite  ///< creates the file when it is missing and locks out other writers
  };

  /// Opens `path` and reads what it holds. A last line without its end (the program was killed
  /// while writing it) is cut off (kRead only skips it); other lines that cannot be read are kept and ignored. Throws
  /// Error when the file cannot be opened, read or written, or another process writes it.
  explicit Manifest(const std::filesystem::path& path, Access access = Access::kWrite);
  ~Manifest();
  Manifest(const Manifest&) = delete;
  Manifest& operator=(const Manifest&) = delete;

  /// Appends a line and flushes it. Throws Error (failed) when the disk is full; the file then ends as it did before.
  void append(const ManifestEntry& entry);
  /// The last line about a job, nullptr when there is none.
  const ManifestEntry* find(const std::string& id) const;
  bool empty() const { return entries_.empty(); }
  /// Appends the lines of another record that are not here yet, and removes that file. False, and nothing is done,
  /// when another process still writes it after `patience`. Safe to repeat after a kill.
  bool merge(const std::filesystem::path& shard, std::chrono::milliseconds patience);
  /// Lines that could not be read, and whether a torn one was cut off: for a message.
  int64_t unreadable() const { return unreadable_; }
  bool repaired() const { return repaired_; }

 private:
  void read();
  void write(const std::string& lines);
  void remember(const ManifestLine& line);

  std::filesystem::path path_;
  int descriptor_ = -1;
  off_t whole_ = 0;  // bytes of whole lines when it was read
  std::map<std::string, ManifestEntry> entries_;
  int64_t unreadable_ = 0;
  bool repaired_ = false;
};

}  // namespace tessera
