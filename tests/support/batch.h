#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera::test {

/// tessera batch with a small model in float32; `more` comes last, so it can say otherwise.
inline std::vector<std::string> batch_arguments(const std::filesystem::path& prompts, const std::filesystem::path& out,
                                                const std::vector<std::string>& more = {}) {
  const std::string model = fixture_folder() / "wan_pipeline" / "pipeline";
  std::vector<std::string> all = {TESSERA_BINARY, "batch", "--no-gallery",          prompts, "-o",      out,
                                  "--size",       "32x32", "--max-sequence-length", "16",    "--dtype", "fp32",
                                  "--model",      model};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// The lines of stderr that are notes and errors, not progress.
inline std::string notes_of(const std::string& err) {
  std::istringstream lines(err);
  std::string notes;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("tessera: ")) notes += line + "\n";
  return notes;
}

/// What a batch is made of: everything is small, so that a job takes milliseconds.
class BatchTest : public testing::Test {
 protected:
  /// With so small a network a second thread doubles the time of everything.
  static void SetUpTestSuite() { setenv("OMP_NUM_THREADS", "1", 1); }

  ProcessResult run(const std::string& prompts, const std::vector<std::string>& more = {},
                    const std::string& out = "out", long limit_file_bytes = 0) {
    return Process(batch_arguments(write(prompts), folder / out, more), {}, limit_file_bytes).wait();
  }

  std::filesystem::path write(const std::string& prompts) const {
    std::ofstream(folder / "prompts.json") << prompts;
    return folder / "prompts.json";
  }

  std::vector<nlohmann::json> manifest(const std::string& out = "out") const {
    std::istringstream lines(read_text(folder / out / "manifest.jsonl"));
    std::vector<nlohmann::json> entries;
    for (std::string line; std::getline(lines, line);) entries.push_back(nlohmann::json::parse(line));
    return entries;
  }

  /// Every output of a folder with its bytes; records, the lock, the run's address and the page are left out.
  std::map<std::string, std::string> outputs(const std::string& out) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / out)) {
      const std::string name = entry.path().lexically_relative(folder / out).string();
      if (entry.is_regular_file() && !name.starts_with("manifest.") && !name.starts_with(".tessera.") &&
          name != "index.html")
        files[name] = read_text(entry.path());
    }
    return files;
  }

  /// Pictures and videos in turn.
  static std::string thirty_jobs() {
    nlohmann::json prompts = nlohmann::json::array();
    for (int i = 0; i < 30; ++i)
      prompts.push_back({{"id", "job" + std::to_string(i)},
                         {"prompt", "a star, number " + std::to_string(i % 7)},
                         {"seed", i},
                         {"frames", i % 3 == 0 ? 5 : 1}});
    return nlohmann::json{{"version", 1}, {"defaults", {{"steps", 1}}}, {"prompts", prompts}}.dump();
  }

  TemporaryFolder folder;
};

}  // namespace tessera::test
