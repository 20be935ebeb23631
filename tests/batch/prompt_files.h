#pragma once

#include <gtest/gtest.h>

#include <fstream>

#include "batch/prompt_file.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera::test {

/// A test that reads prompt files of its own making.
class PromptFiles : public testing::Test {
 protected:
  std::vector<PromptJob> read(const std::string& name, const std::string& text,
                              const std::vector<std::pair<std::string, std::string>>& flags = {}) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    std::vector<std::pair<const JobOption*, std::string>> given;
    for (const auto& [option, value] : flags) given.emplace_back(&find_job_option(option), value);
    const PromptFile file = read_prompt_file(folder_ / name, given, kLargestPromptFile, prompt_key);
    file.mistakes.throw_if_any(file.name);
    notes = file.notes;
    return file.jobs;
  }

  /// The error that a file meets, without its path.
  std::string refusal(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string(), message = refusal_of([&] { read(name, text); });
    return message.rfind(path, 0) == 0 ? message.substr(path.size()) : message;
  }

  std::vector<std::string> notes;
  std::string prompt_key;

 private:
  TemporaryFolder folder_;
};

inline std::string ids_of(const std::vector<PromptJob>& jobs) {
  std::string text;
  for (const auto& job : jobs) text += (text.empty() ? "" : " ") + job.id;
  return text;
}

}  // namespace tessera::test
