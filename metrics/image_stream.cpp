#include "metrics/image_stream.h"

#include <ATen/ops/stack.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
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
  int64_t side;
  ArrayForm arrays;
  std::mutex guard;
  std::condition_variable changed;
  std::map<size_t, Slot> slots;  // taken and not yet consumed
  size_t taken = 0, current = 0;
  bool stopped = false;
  std::vector<UnreadableImage> unreadable;
  std::vector<std::thread> decoders;

  ~State();
  bool put(size_t index, at::Tensor picture);
  void decode(size_t index);
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

/// Hands over one picture; false when the stream was stopped.
bool ImageStream::State::put(size_t index, at::Tensor picture) {
  std::unique_lock lock(guard);
  changed.wait(lock, [&] { return stopped || slots[index].pictures.size() < kFramesAhead; });
  if (stopped) return false;
  slots[index].pictures.push_back(std::move(picture));
  changed.notify_all();
  return true;
}

void ImageStream::State::decode(size_t index) {
  const ImageSource& source = sources[index];
  std::string error;
  std::exception_ptr failure;
  try {
    if (source.is_video)
      each_frame(source.path, [&](const at::Tensor& frame) { return put(index, protocol->resize(frame, side)); });
    else if (!source.array.empty())
      each_row(source, arrays, [&](const at::Tensor& picture) { return put(index, protocol->resize(picture, side)); });
    else
      put(index, protocol->resize(read_picture(source.path), side));
  } catch (const Error& problem) {
    error = problem.what();
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(guard);
  Slot& slot = slots[index];
  slot.error = error;
  slot.failure = failure;
  slot.done = true;
  changed.notify_all();
}

void ImageStream::State::work() {
  while (true) {
    size_t index = 0;
    {
      std::unique_lock lock(guard);
      changed.wait(lock, [&] { return stopped || taken == sources.size() || taken < current + kSourcesAhead; });
      if (stopped || taken == sources.size()) return;
      index = taken++;
      slots[index];
    }
    decode(index);
  }
}

ImageStream::ImageStream(std::vector<ImageSource> sources, const Protocol& protocol, int64_t side, int threads,
                         const ArrayForm& arrays)
    : state_(std::make_unique<State>()) {
  TORCH_CHECK(threads >= 1 && side >= 1, "ImageStream: ", threads, " threads, side ", side);
  state_->sources = std::move(sources);
  state_->protocol = &protocol;
  state_->side = side;
  state_->arrays = arrays;
  try {
    for (int i = 0; i < threads; ++i) state_->decoders.emplace_back([state = state_.get()] { state->work(); });
  } catch (const std::system_error& error) {  // those that run are stopped and joined with the state
    throw Error(c10::str("only ", state_->decoders.size(), " of ", threads, " threads that decode pictures start: ",
                         error.code().message(), "; lower --threads, or raise the limit of processes (ulimit -u)"),
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
      return slot != state.slots.end() && (slot->second.done || !slot->second.pictures.empty());
    });
    Slot& slot = state.slots[index];
    if (slot.failure) std::rethrow_exception(slot.failure);
    if (!slot.pictures.empty()) {
      pictures.push_back(std::move(slot.pictures.front()));
      batch.labels.push_back(state.sources[index].label);
      batch.names.push_back(name_of(state.sources[index], slot.handed_over++));
      slot.pictures.pop_front();
    } else {
      if (!slot.error.empty()) state.unreadable.push_back({state.sources[index].path, slot.error});
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

const std::vector<UnreadableImage>& ImageStream::unreadable() const {
  return state_->unreadable;
}

}  // namespace tessera
