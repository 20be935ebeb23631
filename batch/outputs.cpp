#include "batch/outputs.h"

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

void refuse_earlier_work(const BatchPlan& plan, const fs::path& folder, const Manifest& manifest) {
  const std::string advice = "; continue with --resume, replace it with --overwrite, or choose another --output";
  if (!manifest.empty())
    throw Error("the folder " + folder.string() + " holds an earlier batch (manifest.jsonl)" + advice);
  std::error_code failed;
  for (const BatchJob& job : plan.jobs)
    if (const std::string file = output_files(job.job).front(); fs::exists(file, failed))
      throw Error(file + " exists already" + advice);
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
