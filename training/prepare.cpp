#include "training/prepare.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>
#include <span>

#include "checkpoints/fingerprint.h"
#include "checkpoints/wan/model.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "core/transfer.h"
#include "core/utf8.h"
#include "models/umt5/prompt_clean.h"
#include "training/export.h"
#include "training/item_frames.h"

namespace tessera {
namespace {

using nlohmann::json;

/// The request with the model's defaults where it says nothing, checked.
PrepareRequest with_defaults(PrepareRequest request, const WanModel& model) {
  const JsonConfig& index = model.folder.index;
  const JsonConfig own =
      index.has("generation_defaults") ? index.object("generation_defaults") : JsonConfig(json::object(), "");
  if (request.size.width == 0) request.size = {own.integer("width", 832), own.integer("height", 480)};
  if (request.frames == 0) request.frames = own.integer("frames", 81);
  if (request.fps.numerator == 0) {
    const bool whole = !own.has("fps") || own.json().at("fps").is_number_integer();
    request.fps =
        whole ? FrameRate{own.integer("fps", 16), 1} : parse_frame_rate(own.text("fps")).value_or(FrameRate{16, 1});
  }
  const int64_t stride = model.vae.temporal_stride();
  if (request.frames < 1 || (request.frames - 1) % stride != 0)
    throw Error("--frames must be 1 + a multiple of " + std::to_string(stride) + ", got " +
                std::to_string(request.frames) + "; the nearest is " +
                std::to_string(1 + std::max<int64_t>(0, request.frames - 1) / stride * stride));
  if (request.size.width < 1 || request.size.width % model.width_multiple() != 0 || request.size.height < 1 ||
      request.size.height % model.height_multiple() != 0)
    throw Error("--width and --height must be multiples of " + std::to_string(model.width_multiple()) + " and " +
                std::to_string(model.height_multiple()) + " for this model, got " + std::to_string(request.size.width) +
                "x" + std::to_string(request.size.height));
  if (model.transformer.patch_size[0] != 1)
    throw Error(model.folder.path.string() +
                ": its patches cover several latent frames; such models cannot be trained");
  return request;
}

/// Buckets whose sides are about an eighth of a frame apart.
int64_t bucket_step(const WanModel& model, const FrameSize& size) {
  const int64_t multiple = std::lcm(model.width_multiple(), model.height_multiple());
  const double side = std::sqrt(static_cast<double>(size.width * size.height));
  return std::max<int64_t>(1, static_cast<int64_t>(side / 8) / multiple) * multiple;
}

class Preparation {
 public:
  explicit Preparation(const PrepareRequest& request)
      : model_(open_wan_model(request.model)),
        request_(with_defaults(request, model_)),
        buckets_(bucket_sizes(request_.size, bucket_step(model_, request_.size))) {
    const JsonConfig& index = model_.folder.index;
    DataCache& cache = result_.cache;
    cache.folder = request_.cache;
    cache.vae = component_fingerprint(model_.folder.component("vae"));
    cache.text_encoder = component_fingerprint(model_.folder.component("text_encoder"));
    if (index.has("generation_defaults"))
      cache.text_length = index.object("generation_defaults").integer("max_sequence_length", cache.text_length);
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
      DataSet set = list_data(path);
      std::move(set.items.begin(), set.items.end(), std::back_inserter(items_));
      std::move(set.dropped.begin(), set.dropped.end(), std::back_inserter(result_.cache.dropped));
    }
    encode_items();
    encode_texts();
    if (!damaged_.empty() && !request_.skip_damaged) throw_damaged();
    if (result_.cache.clips.empty())
      throw Error("nothing is left to train on: all " +
                  counted(static_cast<int64_t>(items_.size()), "item was", "items were") +
                  " dropped, the first because " + result_.cache.dropped.front().reason);
    result_.cache.save();
    return std::move(result_);
  }

 private:
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
        damaged_.push_back({item.name, error.what()});
        result_.cache.dropped.push_back({item.name, std::string("it cannot be read: ") + error.what()});
      }
      progress.advance();
    }
  }

  /// Encodes one item, or finds it encoded.
  void take(const DataItem& item) {
    const ItemFrames frames(item, request_.cache);
    const std::string key = sha256(frames.hash() + settings_.dump() + (item.frame_folder ? " frames" : ""));
    const std::filesystem::path file = request_.cache / "items" / (key + ".json");
    json record;
    if (std::filesystem::exists(file)) record = read_json_object(file);
    if (!is_complete(record)) {
      record = encode(item, frames, key);
      write_json(file, record);
      result_.encoded += static_cast<int64_t>(record.at("clips").size());
    } else {
      result_.kept += static_cast<int64_t>(record.at("clips").size());
    }
    list(item, record);
  }

  bool is_complete(const json& record) const {
    if (!record.contains("clips")) return false;
    for (const json& clip : record.at("clips")) {
      const auto key = clip.at("latents").get<std::string>();
      const auto file = result_.cache.latents_file(key);
      if (!std::filesystem::exists(file)) return false;
      try {
        read_cached(file, key);
      } catch (const Error&) {
        return false;  // damaged: made again
      }
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
        video ? clip_lengths(usable, request_.frames, request_.least_frames, model_.vae.temporal_stride())
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
        const at::Tensor latents = encode_clip(at::stack(clip, 1));
        clip.clear();
        write_cached(result_.cache.latents_file(name), name, latents);
        record["clips"].push_back({{"latents", name}, {"shape", latents.sizes().vec()}});
      }
      ++source;
      return done < lengths.size();
    });
    return record;
  }

  /// [3, T, H, W] in [-1, 1] -> normalized latents [z, t, h, w].
  at::Tensor encode_clip(const at::Tensor& frames) {
    if (!vae_) vae_.emplace(load_vae(model_, "fp32", request_.device));
    const auto per_channel = [](const std::vector<double>& values) {
      return at::tensor(values, at::kFloat).view({-1, 1, 1, 1});
    };
    const at::Tensor mean = vae_->part.encode_chunks(uploaded(frames.unsqueeze(0), request_.device)).mean[0].cpu();
    return ((mean - per_channel(model_.vae.latents_mean)) / per_channel(model_.vae.latents_std)).contiguous();
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
      used += 1 + (shape.at(1) - 1) * model_.vae.temporal_stride();
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
    return sha256(clean_prompt(caption) + "\n" + result_.cache.text_encoder + " " +
                  std::to_string(result_.cache.text_length));
  }

  void encode_texts() {
    DataCache& cache = result_.cache;
    cache.empty_text = text_key("");
    std::map<std::string, std::string> captions = {{cache.empty_text, ""}};
    for (const CachedClip& clip : cache.clips) captions.emplace(clip.text, clip.caption);
    const Tokenizer tokenizer = load_tokenizer(model_);
    vae_.reset();  // its memory is the text encoder's now
    std::optional<Loaded<Umt5Encoder>> encoder;
    Progress progress("texts", static_cast<int64_t>(captions.size()), request_.progress);
    for (const auto& [key, caption] : captions) {
      throw_if_canceled();
      const std::string clean = clean_prompt(caption);
      const auto all = static_cast<int64_t>(tokenizer.encode(clean).size());
      if (all > cache.text_length)
        result_.notes.push_back("a caption is longer than " + std::to_string(cache.text_length) + " tokens: its last " +
                                counted(all - cache.text_length, "token is", "tokens are") +
                                " ignored: " + shortened(caption, 60));
      progress.advance();
      if (std::filesystem::exists(cache.text_file(key))) continue;
      if (!encoder) encoder.emplace(load_text_encoder(model_, request_.dtype, request_.device));
      const at::Tensor ids = at::tensor(tokenizer.encode(clean, cache.text_length), at::kLong).unsqueeze(0);
      const at::Tensor states = encoder->part.forward(uploaded(ids, request_.device), {})[0];
      write_cached(cache.text_file(key), key, states.cpu().contiguous());
    }
  }

  WanModel model_;
  PrepareRequest request_;
  std::vector<FrameSize> buckets_;
  json settings_;
  std::vector<DataItem> items_;
  std::vector<DroppedItem> damaged_;
  std::optional<Loaded<WanVae>> vae_;
  PrepareResult result_;
};

}  // namespace

PrepareResult prepare_data(const PrepareRequest& request) {
  const c10::NoGradGuard no_gradients;
  return Preparation(request).run();
}

}  // namespace tessera
