#include "metrics/image_stream.h"

#include <ATen/ops/stack.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "media/picture.h"
#include "media/video_reader.h"

namespace tessera {
namespace {

constexpr size_t kFramesAhead = 32;   // of one video
constexpr size_t kSourcesAhead = 64;  // files that may be decoded before their turn

/// One source on its way.
struct Slot {
  std::deque<at::Tensor> pictures;
  int64_t handed_over = 0;
  std::string error;
  std::exception_ptr failure;
  std::optional<VideoFacts> facts;
  bool done = false;
};

/// Hands over the pictures of an array one by one, [H, W, 3] uint8, until `use` returns false.
void each_row(const ImageSource& source, const ArrayForm& form, const std::function<bool(const at::Tensor&)>& use) {
  PictureArray pictures(source.path, source.array, form);
  for (int64_t i = 0; i < pictures.count(); ++i)
    if (!use(pictures.next())) return;
}

std::string name_of(const ImageSource& source, int64_t index) {
  const bool many = source.is_video || !source.array.empty();
  return source.path.string() + (many ? "#" + std::to_string(index) : "");
}

}  // namespace

struct ImageStream::State {
  std::vector<ImageSource> sources;
  const Protocol* protocol;
  ImageStreamOptions options;
  std::mutex guard;
  std::condition_variable changed;
  std::map<size_t, Slot> slots;  // taken and not yet consumed
  size_t taken = 0, current = 0;
  bool stopped = false;
  std::exception_ptr failure;  // of a decoder outside a file
  std::vector<UnreadableFile> unreadable;
  VideoTally videos;
  std::vector<std::thread> decoders;

  ~State();
  bool is_stopped();
  bool put(size_t index, at::Tensor picture);
  void look_through(const ImageSource& source);
  std::optional<VideoFacts> hand_over(size_t index);
  void decode(size_t index);
  bool take(size_t& index);
  void work();
};

ImageStream::State::~State() {
  {
    const std::lock_guard lock(guard);
    stopped = true;
    changed.notify_all();
  }
  for (std::thread& decoder : decoders) decoder.join();
}

bool ImageStream::State::is_stopped() {
  const std::lock_guard lock(guard);
  return stopped;
}

/// Hands over one picture; false when the stream was stopped.
bool ImageStream::State::put(size_t index, at::Tensor picture) {
  std::unique_lock lock(guard);
  changed.wait(lock, [&] { return stopped || slots[index].pictures.size() < kFramesAhead; });
  if (stopped) return false;
  slots[index].pictures.push_back(std::move(picture));
  changed.notify_all();
  return true;
}

/// Reads a file of several pictures to its end. Throws Error when that cannot be done.
void ImageStream::State::look_through(const ImageSource& source) {
  if (source.is_video)
    count_video_frames(source.path, [&] { return !is_stopped(); });
  else if (!source.array.empty())
    each_row(source, options.arrays, [&](const at::Tensor&) { return !is_stopped(); });
}

std::optional<VideoFacts> ImageStream::State::hand_over(size_t index) {
  const ImageSource& source = sources[index];
  const auto put_resized = [&](const at::Tensor& picture) {
    return put(index, protocol->resize(picture, options.side));
  };
  if (source.is_video) return each_frame(source.path, put_resized, options.matrix);
  if (!source.array.empty())
    each_row(source, options.arrays, put_resized);
  else
    put_resized(read_picture(source.path));
  return {};
}

void ImageStream::State::decode(size_t index) {
  std::string error;
  std::exception_ptr failed;
  std::optional<VideoFacts> facts;
  bool looked_through = false;
  try {
    if (options.skip_unreadable) look_through(sources[index]);
    looked_through = options.skip_unreadable && (sources[index].is_video || !sources[index].array.empty());
    facts = hand_over(index);
  } catch (const Error& problem) {
    error = problem.what();
    if (looked_through)  // its pictures may be in the sums already
      failed = std::make_exception_ptr(Error(error + "; it could be read a moment before", ExitCode::kFailed));
  } catch (...) {
    failed = std::current_exception();
  }
  const std::lock_guard lock(guard);
  Slot& slot = slots[index];
  slot.error = std::move(error);
  slot.failure = failed;
  slot.facts = std::move(facts);
  slot.done = true;
  changed.notify_all();
}

/// Waits for the next source; false when there is none any more.
bool ImageStream::State::take(size_t& index) {
  std::unique_lock lock(guard);
  changed.wait(lock, [&] { return stopped || taken == sources.size() || taken < current + kSourcesAhead; });
  if (stopped || taken == sources.size()) return false;
  slots[taken];
  index = taken++;
  return true;
}

void ImageStream::State::work() {
  try {
    for (size_t index = 0; take(index);) decode(index);
  } catch (...) {  // out of memory beside a file: next() throws it, and the other decoders end
    const std::lock_guard lock(guard);
    failure = std::current_exception();
    stopped = true;
    changed.notify_all();
  }
}

ImageStream::ImageStream(std::vector<ImageSource> sources, const Protocol& protocol, const ImageStreamOptions& options)
    : state_(std::make_unique<State>()) {
  TORCH_CHECK(options.threads >= 1 && options.side >= 1, "ImageStream: ", options.threads, " threads, side ",
              options.side);
  state_->sources = std::move(sources);
  state_->protocol = &protocol;
  state_->options = options;
  try {
    for (int i = 0; i < options.threads; ++i) state_->decoders.emplace_back([state = state_.get()] { state->work(); });
  } catch (const std::system_error& error) {  // those that run are stopped and joined with the state
    throw Error(c10::str("only ", state_->decoders.size(), " of ", options.threads,
                         " threads that decode pictures start: ", error.code().message(),
                         "; lower --threads, or raise the limit of processes (ulimit -u)"),
                ExitCode::kFailed);
  }
}

ImageStream::~ImageStream() = default;

bool ImageStream::next(int64_t size, Batch& batch) {
  State& state = *state_;
  batch = {};
  std::vector<at::Tensor> pictures;
  std::unique_lock lock(state.guard);
  while (static_cast<int64_t>(pictures.size()) < size && state.current < state.sources.size()) {
    const size_t index = state.current;
    state.changed.wait(lock, [&] {
      const auto slot = state.slots.find(index);
      return state.failure || (slot != state.slots.end() && (slot->second.done || !slot->second.pictures.empty()));
    });
    if (state.failure) std::rethrow_exception(state.failure);
    Slot& slot = state.slots[index];
    if (slot.failure) std::rethrow_exception(slot.failure);
    if (!slot.pictures.empty()) {
      pictures.push_back(std::move(slot.pictures.front()));
      batch.labels.push_back(state.sources[index].label);
      batch.names.push_back(name_of(state.sources[index], slot.handed_over++));
      slot.pictures.pop_front();
    } else {
      if (!slot.error.empty()) state.unreadable.push_back({state.sources[index].path, slot.error});
      if (slot.facts) state.videos.add(state.sources[index].path, *slot.facts);
      state.slots.erase(index);
      ++state.current;
      ++batch.sources;
    }
    state.changed.notify_all();
  }
  lock.unlock();
  if (!pictures.empty()) batch.pixels = at::stack(pictures);
  return !pictures.empty() || batch.sources > 0;
}

const std::vector<UnreadableFile>& ImageStream::unreadable() const {
  return state_->unreadable;
}

const VideoTally& ImageStream::videos() const {
  return state_->videos;
}

}  // namespace tessera
