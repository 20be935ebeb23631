#include "batch/started_job.h"

#include "core/error.h"
#include "core/out_of_memory.h"

namespace tessera {

std::optional<Failure> failure_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    if (error.is_cancellation()) throw;
    return Failure{error.what(), error.code() == ExitCode::kBadPixels};
  } catch (const std::exception& error) {
    if (const auto memory = out_of_memory_text(error, kSmallerRender)) return Failure{*memory};
    const auto* broken = dynamic_cast<const c10::Error*>(&error);
    return Failure{broken ? broken->what_without_backtrace() : error.what()};
  }
}

StartedJob::StartedJob(const std::filesystem::path& folder, const BatchJob& batch_job)
    : job(batch_job), kept(folder, batch_job) {
  entry.id = job.id;
  entry.status = "done";
  entry.hash = job.hash;
  entry.output = job.name;
  entry.recipe = recipe_json(job.job);
  entry.samples = static_cast<int64_t>(job.samples().size());
  entry.metadata = job.metadata;
}

void QueuedWriter::write(const at::Tensor& frame) {
  if (job_->write_failed) throw Error("the output could not be written", ExitCode::kFailed);
  post([frame](FrameWriter& writer) { writer.write(frame); }, static_cast<int64_t>(frame.nbytes()));
}

void QueuedWriter::finish() {
  post([](FrameWriter& writer) { writer.finish(); }, 0);
}

void QueuedWriter::post(std::function<void(FrameWriter&)> work, int64_t bytes) {
  const Stopwatch waiting;
  thread_.post(
      [job = job_, work = std::move(work)] {
        if (job->write_failed) return;
        const Stopwatch writing;
        job->write_failure = failure_of([&] { work(*job->writer); });
        job->write_failed = job->write_failure.has_value();
        job->written_seconds += writing.seconds();
      },
      bytes);
  job_->waited_seconds += waiting.seconds();
}

}  // namespace tessera
