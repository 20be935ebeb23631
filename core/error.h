#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace tessera {

/// Exit codes of the program, the whole list.
enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,        ///< a run-time failure: disk full, out of memory, codec error
  kUsage = 2,         ///< usage or bad input: flags, files, model directories
  kPartlyDone = 3,    ///< a batch in which some jobs failed
  kBadPixels = 4,     ///< NaN, black or flat frames; the latent is kept
  kInterrupted = 130  ///< SIGINT; SIGTERM is 143
};

/// The one exception of the project: a line that says what was expected, what was found, where, and what to do.
/// Throw it where the fact is known; only main catches it, prints `what()` and exits with `code()`.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode code = ExitCode::kUsage)
      : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The candidate closest to `name` by edit distance, or "" when none is near (more than a third of it differs).
std::string nearest_match(const std::string& name, const std::vector<std::string>& candidates);

/// " (did you mean X?)" for the nearest candidate, else " (one of A, B, C)": the tail of every wrong-name error.
std::string suggestion(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace tessera
