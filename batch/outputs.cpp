#include "batch/outputs.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <unordered_set>

#include "batch/folder.h"
#include "core/atomic_file.h"
#include "core/error.h"
#include "core/sha256.h"
#include "pipelines/output.h"
#include "weights/safetensors.h"

namespace tessera {

namespace fs = std::filesystem;

std::string sha256_of_output(const Job& job) {
  Sha256 hash;
  for (const std::string& file : output_files(job)) hash.update_file(file);
  return hash.hex();
}

bool is_done(const BatchJob& job, const Manifest& manifest) {
  const ManifestEntry* entry = manifest.find(job.id);
  if (!entry || entry->status != "done" || entry->hash != job.hash) return false;
  std::error_code failed;
  for (const std::string& file : output_files(job.job))
    if (!fs::is_regular_file(file, failed)) return false;
  return sha256_of_output(job.job) == entry->sha256;
}

int64_t most_bytes(const BatchJob& job) {
  return largest_output_bytes(job.job) * static_cast<int64_t>(job.samples().size());
}

void write_side_file(const fs::path& folder, const BatchJob& job) {
  const SideFile& wanted = job.side_file;
  if (wanted.name.empty()) return;
  const fs::path path = folder / wanted.name;
  std::ifstream in(path, std::ios::binary);
  if (in && std::string(std::istreambuf_iterator<char>(in), {}) == wanted.text) return;
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  write_file_atomically(path, wanted.text);
}

void refuse_earlier_work(const BatchPlan& plan, const fs::path& folder, const Manifest& manifest) {
  const std::string advice = "; continue with --resume, replace it with --overwrite, or choose another --output";
  if (!manifest.empty())
    throw Error("the folder " + folder.string() + " holds an earlier batch (manifest.jsonl)" + advice);
  std::error_code failed;
  for (const BatchJob& job : plan.jobs)
    if (const std::string file = output_files(job.job).front(); fs::exists(file, failed))
      throw Error(file + " exists already" + advice);
}

void refuse_strangers(const Layout& layout, const BatchPlan& plan, const fs::path& folder) {
  std::error_code failed;
  if (layout.read.empty() || !fs::is_directory(folder, failed)) return;
  const std::regex read(layout.read);
  std::unordered_set<std::string> own;
  for (const BatchJob& job : plan.jobs) own.insert(job.name);
  std::vector<std::string> strangers;
  const auto options = fs::directory_options::skip_permission_denied;
  // Another process may work in the folder: what vanishes meanwhile was none of the files looked for.
  for (fs::recursive_directory_iterator at(folder, options, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().lexically_relative(folder).string();
    if (!is_unfinished(name) && std::regex_match(name, read) && !own.count(name)) strangers.push_back(name);
  }
  if (strangers.empty()) return;
  const size_t more = strangers.size() - 1;
  throw Error((folder / *std::min_element(strangers.begin(), strangers.end())).string() +
              (more > 0 ? " and " + std::to_string(more) + " more files are no outputs" : " is no output") +
              " of this run, and " + layout.benchmark +
              " would score what lies there; remove it or choose another --output");
}

KeptLatents::KeptLatents(const fs::path& folder, const BatchJob& job)
    : folder_(folder), path_(folder / "latents" / (job.id + ".safetensors")), job_(job) {}

at::Tensor KeptLatents::read() const {
  std::error_code failed;
  if (!fs::exists(path_, failed)) return {};
  const TensorFile file = read_safetensors(path_);
  const auto hash = file.metadata().find("hash");
  const at::Tensor* latents = file.find("latents");
  if (!latents || hash == file.metadata().end() || hash->second != job_.hash) return {};
  return latents->clone();
}

void KeptLatents::save(const at::Tensor& latents) const {
  if (fs::exists(path_) && read().defined()) return;
  constexpr int kTries = 10;
  for (int tries = 1;; ++tries) {
    std::error_code ignored;
    fs::create_directories(path_.parent_path(), ignored);
    try {
      save_latents(path_.string(), latents, job_.job, job_.hash);
      return;
    } catch (const Error& error) {
      // Another thread or process may just have removed the folder, which was empty.
      if (error.code() != ExitCode::kUsage || tries == kTries) throw;
    }
  }
}

void KeptLatents::remove() const {
  std::error_code ignored;
  if (!fs::remove(path_, ignored)) return;
  for (fs::path above = path_.parent_path(); above != folder_ && fs::remove(above, ignored);)
    above = above.parent_path();
}

std::string KeptLatents::name() const {
  std::error_code failed;
  return fs::exists(path_, failed) ? fs::relative(path_, folder_).string() : "";
}

}  // namespace tessera
