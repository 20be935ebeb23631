#include "training/data_cache.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/json_config.h"
#include "core/sha256.h"
#include "training/export.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

constexpr int64_t kCacheFormat = 1;
constexpr const char* kValue = "value";

std::string bytes_hash(const at::Tensor& value) {
  const at::Tensor whole = value.contiguous();
  return sha256({static_cast<const char*>(whole.const_data_ptr()), whole.nbytes()});
}

}  // namespace

std::filesystem::path DataCache::latents_file(const std::string& key) const {
  return folder / "latents" / (key + ".safetensors");
}

std::filesystem::path DataCache::text_file(const std::string& key) const {
  return folder / "texts" / (key + ".safetensors");
}

void write_cached(const std::filesystem::path& file, const std::string& key, const at::Tensor& value) {
  write_safetensors(file, {{kValue, value}}, {{"key", key}, {"sha256", bytes_hash(value)}});
}

at::Tensor read_cached(const std::filesystem::path& file, const std::string& key) {
  const TensorFile tensors = read_safetensors(file);
  const auto said = [&](const char* name) {
    const auto found = tensors.metadata().find(name);
    return found == tensors.metadata().end() ? std::string() : found->second;
  };
  const at::Tensor& value = tensors.at(kValue);
  if (said("key") != key || said("sha256") != bytes_hash(value))
    throw Error(file.string() +
                ": does not hold what was written there: it is damaged or was replaced; delete it and "
                "run tessera train prepare again, which makes it anew");
  return value;
}

at::Tensor DataCache::latents(const CachedClip& clip) const {
  const at::Tensor value = read_cached(latents_file(clip.latents), clip.latents);
  if (value.sizes() != at::IntArrayRef(clip.shape))
    throw Error(c10::str(latents_file(clip.latents).string(), ": is ", value.sizes(), ", index.json says ",
                         at::IntArrayRef(clip.shape), "; run tessera train prepare again"));
  return value.to(at::kFloat);
}

at::Tensor DataCache::text(const std::string& key) const {
  const at::Tensor value = read_cached(text_file(key), key);
  if (value.dim() != 2 || value.size(0) > text_length)
    throw Error(c10::str(text_file(key).string(), ": is ", value.sizes(), ", want at most ", text_length, " rows"));
  return at::constant_pad_nd(value.to(at::kFloat), {0, 0, 0, text_length - value.size(0)});
}

void DataCache::save() const {
  nlohmann::json index = {{"format", kCacheFormat},
                          {"vae", vae},
                          {"text_encoder", text_encoder},
                          {"text_length", text_length},
                          {"empty_text", empty_text},
                          {"clips", nlohmann::json::array()},
                          {"dropped", nlohmann::json::array()}};
  for (const CachedClip& clip : clips)
    index["clips"].push_back({{"name", clip.name},
                              {"latents", clip.latents},
                              {"text", clip.text},
                              {"caption", clip.caption},
                              {"shape", clip.shape}});
  for (const DroppedItem& item : dropped) index["dropped"].push_back({{"name", item.name}, {"reason", item.reason}});
  write_json(folder / "index.json", index);
}

DataCache DataCache::open(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "index.json";
  if (!std::filesystem::exists(file))
    throw Error(file.string() + ": no such file: " + folder.string() +
                " is no cache of training data, or tessera train prepare has not finished it; run that command again");
  const JsonConfig index = JsonConfig::read(file);
  if (index.integer("format") != kCacheFormat)
    index.fail("format", "must be " + std::to_string(kCacheFormat) + "; run tessera train prepare of this version");
  DataCache cache;
  cache.folder = folder;
  cache.vae = index.text("vae");
  cache.text_encoder = index.text("text_encoder");
  cache.text_length = index.integer("text_length");
  cache.empty_text = index.text("empty_text");
  const auto list = [&](const char* key) -> const nlohmann::json& {
    if (!index.has(key) || !index.json().at(key).is_array()) index.fail(key, "must be a list");
    return index.json().at(key);
  };
  for (const nlohmann::json& entry : list("clips")) {
    const JsonConfig clip(entry, file.string() + ": clips");
    cache.clips.push_back({.name = clip.text("name"),
                           .latents = clip.text("latents"),
                           .text = clip.text("text"),
                           .caption = clip.text("caption"),
                           .shape = clip.integers("shape")});
    if (cache.clips.back().shape.size() != 4) clip.fail("shape", "must be [channels, frames, height, width]");
  }
  if (cache.clips.empty()) index.fail("clips", "must not be empty");
  return cache;
}

}  // namespace tessera
