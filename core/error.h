#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace tessera {

/// Exit codes of the program. A run ended by a signal exits with 128 plus its number.
enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,        ///< a run-time failure: disk full (found before or while writing), out of memory, codec error
  kUsage = 2,         ///< usage or bad input: flags, files, model directories
  kPartlyDone = 3,    ///< a batch in which some jobs failed
  kBadPixels = 4,     ///< NaN, black or flat frames; the latent is kept
  kInterrupted = 130  ///< SIGINT; SIGTERM is 143, SIGHUP 129
};

/// An error that the user can act on: one line that says what was expected, what was found, where, and what to do.
/// Throw it where the fact is known. Callers catch it to add context or to continue with the next job of a batch; what
/// reaches main is printed and ends the program with `code()`. Broken contracts between functions are c10::Error
/// (TORCH_CHECK).
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode code = ExitCode::kUsage)
      : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }
  /// Whether it says that a stop was requested (see core/cancel.h), which is no failure of what was being done.
  bool is_cancellation() const { return static_cast<int>(code_) > 128; }

 private:
  ExitCode code_;
};

/// The candidate closest to `name` by edit distance, or "" when none is close (more than a third of it differs).
std::string nearest_match(const std::string& name, const std::vector<std::string>& candidates);

/// " (did you mean X?)" for the nearest candidate, else " (one of: A, B, C)": the end of every error about a wrong
/// name.
std::string suggestion(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace tessera
