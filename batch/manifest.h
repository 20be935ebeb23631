#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera {

/// What became of one job, as a line of manifest.jsonl says it.
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
};

/// The record of a batch: one JSON object a line, each flushed to the disk before the next job begins.
class Manifest {
 public:
  enum class Access {
    kRead,  ///< of a file that exists and that another process may be writing: it is left as it is
    kWrite  ///< by this process alone, which keeps others from writing it
  };

  /// Opens `path` (kWrite creates it) and reads what it holds. A last line without its end (the program was killed
  /// while writing it) is cut off, or only passed over by kRead; other lines that cannot be read are kept but count for
  /// nothing. Throws Error when the file cannot be opened, read or written, or another process writes it.
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
  /// when another process still writes it after `patience`. Killed in between, it can be done again.
  bool merge(const std::filesystem::path& shard, std::chrono::milliseconds patience);
  /// Lines that could not be read, and whether a torn one was cut off: for a message.
  int64_t unreadable() const { return unreadable_; }
  bool repaired() const { return repaired_; }

 private:
  void read();
  void write(const std::string& lines);
  void remember(const std::string& line);

  std::filesystem::path path_;
  int descriptor_ = -1;
  off_t whole_ = 0;  // bytes of whole lines when it was read
  std::map<std::string, ManifestEntry> entries_;
  int64_t unreadable_ = 0;
  bool repaired_ = false;
};

/// The record of a folder, and that of one rank among several, which rank 0 merges into it in the end.
std::filesystem::path manifest_path(const std::filesystem::path& folder);
std::filesystem::path shard_path(const std::filesystem::path& folder, int rank);
/// The ranks' records in a folder, sorted.
std::vector<std::filesystem::path> find_shards(const std::filesystem::path& folder);

}  // namespace tessera
