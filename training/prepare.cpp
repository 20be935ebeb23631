#include "training/prepare.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <span>

#include "core/cancel.h"
#include "core/error.h"
#include "core/printable.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/utf8.h"
#include "training/data_encoder.h"
#include "training/export.h"
#include "training/item_frames.h"

namespace tessera {
namespace {

using nlohmann::json;

class Preparation {
 public:
  explicit Preparation(const PrepareRequest& request)
      : encoder_(open_data_encoder(request.model, request.dtype, request.device)),
        request_(encoder_->completed(request)),
        buckets_(encoder_->buckets(request_.size)) {
    DataCache& cache = result_.cache;
    cache.folder = request_.cache;
    const EncodedBy by = encoder_->encoded_by();
    cache.vae = by.vae;
    cache.text_encoder = by.text_encoder;
    cache.text_length = encoder_->text_length();
    for (const char* part : {"latents", "texts", "items"}) make_folder(request_.cache / part);
    settings_ = {{"vae", cache.vae},
                 {"frames", request_.frames},
                 {"least_frames", request_.least_frames},
                 {"fps", frame_rate_text(request_.fps)},
                 {"buckets", json::array()}};
    for (const FrameSize& bucket : buckets_) settings_["buckets"].push_back({bucket.width, bucket.height});
  }

  PrepareResult run() {
    for (const auto& path : request_.data) {
      DataSet set = listed(path);
      for (DataItem& item : set.items)
        if (const std::string why = encoder_->refusal(item); why.empty())
          items_.push_back(std::move(item));
        else
          set.dropped.push_back({item.name, why});
      std::move(set.dropped.begin(), set.dropped.end(), std::back_inserter(result_.cache.dropped));
    }
    encode_items();
    encode_texts();
    if (!damaged_.empty() && !request_.skip_damaged) throw_damaged();
    if (result_.cache.clips.empty())
      throw Error("nothing is left to train on: all " +
                  counted(static_cast<int64_t>(result_.cache.dropped.size()), "item was", "items were") +
                  " dropped, the first because " + result_.cache.dropped.front().reason);
    result_.cache.save();
    return std::move(result_);
  }

 private:
  /// The items of a path; a damaged archive is one that cannot be read.
  DataSet listed(const std::filesystem::path& path) {
    try {
      return list_data(path, encoder_->caption_source());
    } catch (const Error& error) {
      if (!is_archive(path)) throw;
      note_damage(path.string(), error);
      return {};
    }
  }

  void note_damage(const std::string& name, const Error& error) {
    damaged_.push_back({name, printable_line(error.what())});
    result_.cache.dropped.push_back({name, "it cannot be read: " + damaged_.back().reason});
  }

  [[noreturn]] void throw_damaged() const {
    std::string text = counted(static_cast<int64_t>(damaged_.size()), "file") +
                       " cannot be read; all others are in the cache. Repair or remove them, or pass --skip-damaged: ";
    constexpr size_t kMostListed = 20;
    const std::span listed = std::span(damaged_).first(std::min(kMostListed, damaged_.size()));
    text += joined(listed, "; ", [](const DroppedItem& item) { return item.reason; });
    if (damaged_.size() > kMostListed) text += "; and " + std::to_string(damaged_.size() - kMostListed) + " more";
    throw Error(text);
  }

  void encode_items() {
    Progress progress("encode", static_cast<int64_t>(items_.size()), request_.progress);
    for (const DataItem& item : items_) {
      throw_if_canceled();
      try {
        take(item);
      } catch (const Error& error) {
        if (error.is_cancellation() || error.code() == ExitCode::kFailed) throw;
        note_damage(item.name, error);
      }
      progress.advance();
    }
  }

  /// Encodes one item, or finds it encoded.
  void take(const DataItem& item) {
    const ItemFrames frames(item, request_.cache);
    const std::string key = sha256(frames.hash() + settings_.dump() + (item.frame_folder ? " frames" : ""));
    const std::filesystem::path file = request_.cache / "items" / (key + ".json");
    json record = known(file);
    if (!is_complete(record)) {
      record = encode(item, frames, key);
      write_json(file, record);
      result_.encoded += static_cast<int64_t>(record.at("clips").size());
    } else {
      result_.kept += static_cast<int64_t>(record.at("clips").size());
    }
    list(item, record);
  }

  /// What an earlier preparation wrote of an item; nothing where that is damaged.
  static json known(const std::filesystem::path& file) {
    if (!std::filesystem::exists(file)) return {};
    try {
      return read_json_object(file);
    } catch (const Error&) {
      return {};
    }
  }

  bool is_complete(const json& record) const {
    if (!record.contains("clips")) return false;
    for (const json& clip : record.at("clips")) {
      const auto key = clip.at("latents").get<std::string>();
      if (!is_intact(result_.cache.latents_file(key), key)) return false;
    }
    return true;
  }

  /// Whether a file is there as write_cached left it; else it is made again.
  static bool is_intact(const std::filesystem::path& file, const std::string& key) {
    if (!std::filesystem::exists(file)) return false;
    try {
      read_cached(file, key);
    } catch (const Error&) {
      return false;
    }
    return true;
  }

  json encode(const DataItem& item, const ItemFrames& frames, const std::string& key) {
    const FrameSize bucket = nearest_bucket(buckets_, frames.size());
    const bool video = item.medium == Medium::kVideo;
    const FrameRate rate = frames.rate().numerator > 0 ? frames.rate() : request_.fps;
    const int64_t count = frames.count();
    const std::vector<int64_t> wanted = resampled_frames(count, rate, request_.fps);
    const auto usable = static_cast<int64_t>(wanted.size());
    const std::vector<int64_t> lengths =
        video ? clip_lengths(usable, request_.frames, request_.least_frames, encoder_->temporal_stride())
              : std::vector<int64_t>{1};
    json record = {{"clips", json::array()},
                   {"frames", usable},
                   {"source", {frames.size().width, frames.size().height}},
                   {"bucket", {bucket.width, bucket.height}}};
    std::vector<at::Tensor> clip;
    int64_t source = 0;
    size_t next = 0, done = 0;
    if (lengths.empty()) return record;
    frames.each([&](const at::Tensor& frame) {
      throw_if_canceled();
      at::Tensor fitted;
      for (; next < wanted.size() && wanted[next] == source && done < lengths.size(); ++next) {
        if (!fitted.defined()) fitted = fit_frame(frame, bucket);
        clip.push_back(fitted);
        if (static_cast<int64_t>(clip.size()) < lengths[done]) continue;
        const std::string name = sha256(key + " clip " + std::to_string(done++));
        const at::Tensor latents = encoder_->encode_frames(at::stack(clip, 1));
        clip.clear();
        write_cached(result_.cache.latents_file(name), name, latents);
        record["clips"].push_back({{"latents", name}, {"shape", latents.sizes().vec()}});
      }
      ++source;
      return done < lengths.size();
    });
    return record;
  }

  void list(const DataItem& item, const json& record) {
    const json& clips = record.at("clips");
    const auto frames = record.at("frames").get<int64_t>();
    if (clips.empty()) {
      result_.cache.dropped.push_back({item.name, "it is too short: " + counted(frames, "frame") + " at " +
                                                      frame_rate_text(request_.fps) + " frames per second, want " +
                                                      std::to_string(request_.least_frames)});
      return;
    }
    int64_t used = 0;
    for (const json& clip : clips) {
      const auto shape = clip.at("shape").get<std::vector<int64_t>>();
      used += 1 + (shape.at(1) - 1) * encoder_->temporal_stride();
      result_.cache.clips.push_back({.name = item.name,
                                     .latents = clip.at("latents").get<std::string>(),
                                     .text = text_key(item.caption),
                                     .caption = item.caption,
                                     .shape = shape});
    }
    if (item.medium == Medium::kVideo && used < frames)
      result_.notes.push_back(item.name + ": its last " + counted(frames - used, "frame is", "frames are") +
                              " not used");
    const json &source = record.at("source"), &bucket = record.at("bucket");
    if (source.at(0) < bucket.at(0) || source.at(1) < bucket.at(1)) ++result_.enlarged;
  }

  std::string text_key(const std::string& caption) const {
    return sha256(encoder_->read_caption(caption) + "\n" + result_.cache.text_encoder + " " +
                  std::to_string(result_.cache.text_length));
  }

  void encode_texts() {
    DataCache& cache = result_.cache;
    cache.empty_text = text_key("");
    std::map<std::string, std::string> captions = {{cache.empty_text, ""}};
    for (const CachedClip& clip : cache.clips) captions.emplace(clip.text, clip.caption);
    Progress progress("texts", static_cast<int64_t>(captions.size()), request_.progress);
    for (const auto& [key, caption] : captions) {
      throw_if_canceled();
      const std::string read = encoder_->read_caption(caption);
      if (const int64_t unused = encoder_->unused_tokens(read); unused > 0)
        result_.notes.push_back("a caption is longer than " + std::to_string(cache.text_length) + " tokens: its last " +
                                counted(unused, "token is", "tokens are") + " ignored: " + shortened(caption, 60));
      progress.advance();
      if (!is_intact(cache.text_file(key), key))
        write_cached(cache.text_file(key), key, encoder_->encode_caption(read));
    }
  }

  std::unique_ptr<DataEncoder> encoder_;
  PrepareRequest request_;
  std::vector<FrameSize> buckets_;
  json settings_;
  std::vector<DataItem> items_;
  std::vector<DroppedItem> damaged_;
  PrepareResult result_;
};

}  // namespace

PrepareResult prepare_data(const PrepareRequest& request) {
  const c10::NoGradGuard no_gradients;
  return Preparation(request).run();
}

}  // namespace tessera
