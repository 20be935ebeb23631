#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define TESSERA_PUBLIC __attribute__((visibility("default")))

/// The public interface of the library; docs/library.md shows it at work.
namespace tessera::api {

/// The library's version, such as "0.2.0".
TESSERA_PUBLIC std::string version();

/// The one exception that leaves the library: a line that says what was expected, what was found, where, what to do.
class TESSERA_PUBLIC Error : public std::runtime_error {
 public:
  enum class Cause {
    kBadInput,   ///< settings, files or model folders
    kBadPixels,  ///< frames that are not finite, black or of a single color
    kCanceled,   ///< Callbacks::canceled said so
    kFailed      ///< at run time: disk full, out of memory, codec error
  };
  Error(const std::string& message, Cause cause) : std::runtime_error(message), cause_(cause) {}
  Cause cause() const { return cause_; }

 private:
  Cause cause_;
};

/// Options of `tessera generate` by their long names, as text: {{"prompt", "a red heart"}, {"steps", "30"}}. What is
/// left out takes the model's own default.
using Settings = std::map<std::string, std::string>;

/// A finished frame, valid during the call that it is given to.
struct Frame {
  const std::uint8_t* rgb;     ///< height rows of width pixels of red, green and blue, from the top left, no gaps
  std::int64_t width, height;  ///< pixels
  std::int64_t index, count;   ///< from 0, and of how many
  double fps;                  ///< frames a second of a video (24000.0 / 1001 for 23.976); 1 for a picture
};

/// Told and asked on the thread that called render(). An exception thrown here ends the render and reaches the caller.
struct Callbacks {
  /// After each unit of work: "denoising" in calls of the network, "decoding" in frames.
  std::function<void(const std::string& stage, std::int64_t done, std::int64_t total)> progress = {};
  /// Asked between units of work; true ends the render with an Error, and nothing unfinished is kept.
  std::function<bool()> canceled = {};
  /// A line for the user, such as the seed that was picked or a prompt that was cut.
  std::function<void(const std::string& line)> note = {};
};

/// A model that stays in memory and renders job after job. Parts are read at their first use; a result depends on
/// nothing but its job. One render at a time. Every function may throw Error.
class TESSERA_PUBLIC Model {
 public:
  /// Opens the model that `settings` name ("model", "vae"; without them the bundled one), on their "device" and in
  /// their "dtype". All of them are the defaults of its jobs.
  explicit Model(const Settings& settings = {});
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  /// Renders one job into "output" (x.png, x.mp4, dir/frame_%04d.png; a name made from the seed when there is none).
  /// Files appear whole or not at all and carry their recipe. Returns their paths.
  std::vector<std::string> render(const Settings& job, const Callbacks& callbacks = {});

  /// Renders one job and hands its frames, in order, to `take`; writes no file. Frames that turn out to be bad end in
  /// an Error after some of them were handed out.
  void render(const Settings& job, const std::function<void(const Frame&)>& take, const Callbacks& callbacks = {});

 private:
  class Opened;
  std::unique_ptr<Opened> opened_;
};

}  // namespace tessera::api
