#include "metrics/video_check.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <span>
#include <thread>

#include "core/cancel.h"
#include "core/error.h"
#include "core/text.h"
#include "core/threads.h"

namespace tessera {
namespace {

constexpr size_t kNamed = 10;  // short videos in a message

std::string words_of_short(const std::vector<ShortVideo>& short_videos, const ClipRule& rule) {
  const std::span shown(short_videos.data(), std::min(short_videos.size(), kNamed));
  std::string names = joined(shown, ", ", [](const ShortVideo& video) {
    return video.path.string() + " (" + std::to_string(video.frames) + ")";
  });
  if (short_videos.size() > kNamed) names += c10::str(" and ", short_videos.size() - kNamed, " more");
  return c10::str(counted(static_cast<int64_t>(short_videos.size()), "video has", "videos have"), " fewer than the ",
                  rule.span(), " frames of a clip: ", names,
                  "; choose --frames and --stride to fit, or leave them out with --skip-short");
}

/// Runs `read` and gives the reason when it finds that a file cannot be read.
template <class Read>
std::string problem_of(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.is_cancellation()) throw;
    return error.what();
  }
  return "";
}

/// The frames of a video, or why it cannot be read.
struct Count {
  int64_t frames = 0;
  std::string problem;
};

std::vector<Count> count_all(std::span<const VideoSource> videos, const std::function<void()>& done) {
  std::vector<Count> counts(videos.size());
  std::atomic<size_t> next = 0;
  std::mutex guard;
  const auto cores = static_cast<int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  run_on_threads(std::min(cores, static_cast<int64_t>(videos.size())), [&] {
    for (size_t i = next++; i < videos.size(); i = next++) {
      const auto go_on = [] { return throw_if_canceled(), true; };
      counts[i].problem = problem_of([&] { counts[i].frames = count_frames(videos[i], go_on); });
      const std::lock_guard lock(guard);
      if (done) done();
    }
  });
  return counts;
}

std::string problem_with(const CheckedVideos& checked, const VideoSetOptions& options) {
  const size_t seen = checked.videos.size() + checked.short_videos.size() + checked.unreadable.size();
  std::string problem;
  if (!checked.unreadable.empty() && !options.skip_unreadable)
    problem = words_of_unreadable(checked.unreadable, seen, "videos");
  if (!checked.short_videos.empty() && !options.skip_short)
    problem += (problem.empty() ? "" : "\n") + words_of_short(checked.short_videos, options.rule);
  if (!problem.empty() || !checked.videos.empty()) return problem;
  if (checked.short_videos.empty())
    return c10::str("none of ", seen, " videos can be read:", list_of(checked.unreadable));
  return c10::str("no video has the ", options.rule.span(), " frames of a clip");
}

}  // namespace

CheckedVideos check_videos(const std::vector<VideoSource>& found, const VideoSetOptions& options,
                           const std::function<void()>& done) {
  CheckedVideos checked;
  size_t seen = 0;
  while (seen < found.size()) {
    size_t part = found.size() - seen;
    if (options.most_clips > 0) part = std::min(part, static_cast<size_t>(options.most_clips) - checked.videos.size());
    if (part == 0) break;
    const std::vector<Count> counts = count_all({found.data() + seen, part}, done);
    for (const Count& count : counts) {
      throw_if_canceled();
      const VideoSource& video = found[seen++];
      std::string problem = count.problem;
      const bool is_short = problem.empty() && count.frames < options.rule.span();
      if (problem.empty() && !is_short && !video.pictures.empty())
        problem = problem_of(
            [&] { read_clip(video, count.frames, options.rule, static_cast<int64_t>(checked.videos.size())); });
      if (!problem.empty())
        checked.unreadable.push_back({video.path, problem});
      else if (is_short)
        checked.short_videos.push_back({video.path, count.frames});
      else
        checked.videos.push_back({video, count.frames});
    }
  }
  checked.problem = problem_with(checked, options);
  return checked;
}

}  // namespace tessera
