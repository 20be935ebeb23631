#include "batch/gallery.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "batch/gallery_html.h"
#include "batch/manifest.h"
#include "batch/reproduce_command.h"
#include "core/atomic_file.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/sha256.h"
#include "media/file_types.h"
#include "media/frame_writer.h"
#include "media/picture.h"
#include "media/thumbnail.h"
#include "media/video_reader.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kSide = 320;                                                  // pixels: a card is 250 to 340 wide
constexpr size_t kMostBytes = 12000, kLeastBytes = 1500, kAllBytes = 16000000;  // of thumbnails
constexpr int64_t kInputSide = 128;       // of the pictures that videos begin with
constexpr size_t kMostInputBytes = 4000;  // of one of them
constexpr std::string_view kDataStart = "<script type=\"application/json\" id=\"data\">", kDataMark = "<!--data-->";

/// The last line about each job, in the order in which jobs first appear.
struct Record {
  std::vector<json> entries;
  int64_t unreadable = 0;
};

/// Adds the lines of one record.
void read_record(const fs::path& path, Record& record, std::map<std::string, size_t>& places) {
  for_each_manifest_line(path, [&](ManifestLine line) {
    json& entry = line.entry;
    if (entry.is_null() || !entry.value("status", json()).is_string() || !entry.value("output", json()).is_string()) {
      record.unreadable += 1;
      return;
    }
    const auto [place, fresh] = places.try_emplace(entry["id"], record.entries.size());
    if (fresh)
      record.entries.push_back(std::move(entry));
    else
      record.entries[place->second] = std::move(entry);
  });
}

/// The folder's record, and what several processes have not merged into it yet.
Record read_records(const fs::path& folder) {
  std::vector<fs::path> paths = find_shards(folder);
  std::error_code failed;
  if (fs::exists(manifest_path(folder), failed)) paths.insert(paths.begin(), manifest_path(folder));
  if (paths.empty())
    throw Error("cannot read " + manifest_path(folder).string() +
                ": want the output folder of tessera batch, with its record");
  Record record;
  std::map<std::string, size_t> places;
  for (const fs::path& path : paths) read_record(path, record, places);
  return record;
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and a NUL
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(length));
  return out;
}

/// JSON that may stand inside a script element: no "</script>", no "<!--", whatever the prompts hold.
std::string script_json(const ordered_json& value) {
  const std::string plain = value.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string out;
  out.reserve(plain.size());
  for (const char c : plain) {
    if (c == '<')
      out += "\\u003c";
    else if (c == '>')
      out += "\\u003e";
    else if (c == '&')
      out += "\\u0026";
    else
      out += c;
  }
  return out;
}

/// What the script of the existing page reads; null without one.
json earlier_data(const fs::path& page) {
  std::ifstream in(page, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  const std::string html = std::move(text).str();
  const size_t start = html.find(kDataStart);
  if (start == std::string::npos) return {};
  const size_t from = start + kDataStart.size(), end = html.find("</script>", from);
  const json data = json::parse(html.substr(from, end - from), nullptr, false);
  return data.is_object() ? data : json();
}

/// Thumbnails of a page, by the SHA-256 of their output.
std::map<std::string, std::string> thumbnails_of(const json& data) {
  std::map<std::string, std::string> found;
  if (!data.is_object() || !data.value("jobs", json()).is_array()) return found;
  for (const json& job : data["jobs"])
    if (job.is_object() && job.value("sha256", json()).is_string() && job.value("thumb", json()).is_string())
      found[job["sha256"]] = job["thumb"];
  return found;
}

/// The pictures that a page's videos begin with, by their SHA-256.
std::map<std::string, std::string> inputs_of(const json& data) {
  std::map<std::string, std::string> found;
  if (!data.is_object() || !data.value("inputs", json()).is_object()) return found;
  for (const auto& [content, thumb] : data["inputs"].items())
    if (thumb.is_string()) found[content] = thumb;
  return found;
}

/// The output's name when it is a relative path that stays in the folder; the page writes it as an address.
std::optional<std::string> safe_output(const json& entry) {
  const std::string name = entry["output"];
  const fs::path path = name;
  const auto is_no_name = [](const fs::path& part) { return part.empty() || part == "." || part == ".."; };
  if (name.empty() || path.is_absolute() || std::any_of(path.begin(), path.end(), is_no_name)) return {};
  return name;
}

/// What the output is whose name the record has: a file, in which any % is itself, or a pattern of frames.
std::string kind_of(const fs::path& path) {
  const FileType* type = find_file_type(path);
  if (type && type->plays_in_img) return "animation";
  if (!type || type->written_as != Medium::kPicture) return "video";
  std::error_code failed;
  if (fs::exists(path, failed)) return "image";
  try {
    return output_kind(path) == OutputKind::kFrames ? "frames" : "image";
  } catch (const Error&) {  // a name that is no pattern
    return "image";
  }
}

/// [H, W, 3] uint8 of the output's first frame.
at::Tensor first_frame(const fs::path& path, const std::string& kind) {
  if (kind == "image") return read_picture(path);
  if (kind == "frames") return read_picture(frame_path(path, 0));
  return read_video(path, 1).frames[0];
}

class Gallery {
 public:
  explicit Gallery(const fs::path& folder)
      : folder_(folder), page_(folder / "index.html"), record_(read_records(folder)) {
    const size_t count = std::max<size_t>(1, record_.entries.size());
    budget_ = std::clamp(kAllBytes / count, kLeastBytes, kMostBytes);
    const json earlier = earlier_data(page_);
    earlier_ = thumbnails_of(earlier);
    earlier_inputs_ = inputs_of(earlier);
  }

  GallerySummary write() {
    ordered_json jobs = ordered_json::array();
    for (const json& entry : record_.entries) {
      throw_if_canceled();
      jobs.push_back(job_of(entry));
    }
    fs::path named = fs::absolute(folder_).lexically_normal();
    if (named.filename().empty()) named = named.parent_path();
    const ordered_json data = {
        {"title", named.filename().string()}, {"shared", shared_text()}, {"inputs", inputs_}, {"jobs", jobs}};
    std::string html(gallery_html());
    html.replace(html.find(kDataMark), kDataMark.size(), script_json(data));
    write_file_atomically(page_, html);
    return {.path = page_,
            .outputs = static_cast<int64_t>(record_.entries.size()),
            .failed = failed_,
            .without_picture = without_picture_,
            .unreadable = record_.unreadable};
  }

 private:
  ordered_json job_of(const json& entry) {
    const json recipe = entry.value("recipe", json::object());
    ordered_json job = {{"id", entry["id"]}, {"status", entry["status"]}};
    const auto take = [&](const json& from, const std::string& key, const std::string& name) {
      if (from.contains(key) && !from[key].is_null() && from[key] != "") job[name] = from[key];
    };
    job["prompt"] = recipe.is_object() ? shown_prompt(recipe) : "";
    if (recipe.is_object()) {
      take(recipe, "negative_prompt", "negative");
      for (const char* key : {"width", "height", "frames", "steps"})
        if (recipe.contains(key) && recipe[key].is_number()) job[key] = recipe[key];
      if (recipe.contains("seed") && recipe["seed"].is_number()) job["seed"] = shown_seed(recipe["seed"]);
      if (const auto rate = rate_of(recipe)) job["fps"] = *rate;
      add_inputs(job, recipe);
    }
    take(entry, "error", "error");
    take(entry, "latents", "latents");
    if (const double seconds = seconds_of(entry); seconds > 0) job["seconds"] = seconds;
    add_output(job, entry, recipe);
    if (job["status"] != "done") ++failed_;
    return job;
  }

  /// The prompt, or the class of a model that takes classes.
  static std::string shown_prompt(const json& recipe) {
    const json prompt = recipe.value("prompt", json()), label = recipe.value("class", json());
    if (label.is_string() && !(prompt.is_string() && prompt != "")) return "class " + label.get<std::string>();
    return prompt.is_string() ? prompt.get<std::string>() : "";
  }

  /// A page's scripts hold whole numbers up to 2^53; a larger one is text to them.
  static json shown_seed(const json& seed) {
    constexpr uint64_t kExact = uint64_t{1} << 53;
    const bool exact = !seed.is_number_unsigned() || seed.get<uint64_t>() <= kExact;
    return exact ? seed : json(seed.dump());
  }

  /// Frames per second as the page's scripts reckon with them.
  static std::optional<double> rate_of(const json& recipe) {
    const json rate = recipe.value("fps", json());
    if (rate.is_number()) return rate.get<double>();
    const auto fraction = rate.is_string() ? parse_frame_rate(rate.get<std::string>()) : std::nullopt;
    return fraction ? std::optional(fraction->value()) : std::nullopt;
  }

  static double seconds_of(const json& entry) {
    double sum = 0;
    const json parts = entry.value("seconds", json());
    if (parts.is_object())
      for (const json& part : parts)
        if (part.is_number()) sum += part.get<double>();
    return std::round(sum * 1000) / 1000;
  }

  /// The pictures that the video begins and ends with: their names, and what they show.
  void add_inputs(ordered_json& job, const json& recipe) {
    for (const auto& [key, role] : {std::pair("image", "begins with"), std::pair("last_image", "ends with")}) {
      const json picture = recipe.value(key, json());
      const json path = picture.is_object() ? picture.value("path", json()) : json();
      if (!path.is_string()) continue;
      const json content = picture.value("sha256", json());
      ordered_json input = {{"role", role}, {"file", fs::path(path.get<std::string>()).filename().string()}};
      if (content.is_string() && take_input(path.get<std::string>(), content.get<std::string>()))
        input["sha256"] = content;
      job["inputs"].push_back(std::move(input));
    }
  }

  /// Whether the page shows that picture: it is where it was and the same, or the earlier page has it.
  bool take_input(const fs::path& path, const std::string& content) {
    if (inputs_.contains(content)) return true;
    if (used_ + kLeastBytes > kAllBytes) return false;
    std::string thumb;
    try {
      const auto known = earlier_inputs_.find(content);
      thumb = known != earlier_inputs_.end() ? known->second : input_thumbnail(path, content);
    } catch (const Error&) {
      return false;
    }
    if (thumb.empty()) return false;
    used_ += thumb.size() / 4 * 3;
    inputs_[content] = std::move(thumb);
    return true;
  }

  /// "" where the picture is no longer the one of that SHA-256.
  static std::string input_thumbnail(const fs::path& path, const std::string& content) {
    Sha256 found;
    found.update_file(path);
    return found.hex() == content ? base64(encode_thumbnail(read_picture(path), kInputSide, kMostInputBytes)) : "";
  }

  void add_output(ordered_json& job, const json& entry, const json& recipe) {
    const std::optional<std::string> name = safe_output(entry);
    if (!name) {
      job["status"] = "failed";
      job["error"] = "the record names an output outside of this folder";
      return;
    }
    const fs::path path = folder_ / *name;
    const std::string kind = kind_of(path);
    if (recipe.is_object() && !recipe.empty())
      job["command"] = command_of(entry, recipe, own_name(*name, kind == "frames"));
    if (job["status"] != "done") return;
    job["file"] = *name;
    job["kind"] = kind;
    std::error_code failed;
    if (!fs::exists(job["kind"] == "frames" ? frame_path(path, 0) : path, failed)) {
      job["status"] = "missing";
      return;
    }
    add_thumbnail(job, path, entry.value("sha256", ""));
  }

  /// Of a tile: makes its pictures one by one.
  static std::string command_of(const json& entry, json recipe, const std::string& name) {
    const json samples = entry.value("samples", json());
    if (samples.is_number_integer() && samples > 1) recipe["count"] = samples;
    return reproduce_command(recipe, name);
  }

  /// Where the copied command writes: the last part of the name; of frames their folder too.
  static std::string own_name(const std::string& output, bool frames) {
    const fs::path path = output;
    return frames ? (path.parent_path().filename() / path.filename()).string() : literal_name(path.filename().string());
  }

  void add_thumbnail(ordered_json& job, const fs::path& path, const std::string& sha256) {
    if (used_ + kLeastBytes > kAllBytes) return;
    if (const auto known = earlier_.find(sha256); known != earlier_.end() && known->second.size() / 4 * 3 <= budget_) {
      job["thumb"] = known->second;
    } else {
      try {
        const std::string jpeg = encode_thumbnail(first_frame(path, job["kind"]), kSide, budget_);
        if (!jpeg.empty()) job["thumb"] = base64(jpeg);
      } catch (const Error&) {
        ++without_picture_;
        return;
      }
    }
    job["sha256"] = sha256;
    if (job.contains("thumb")) used_ += job["thumb"].get_ref<const std::string&>().size() / 4 * 3;
  }

  /// "sampler: unipc" and so on: the settings that all recipes share.
  std::string shared_text() const {
    json shared;
    for (const json& entry : record_.entries) {
      const json recipe = entry.value("recipe", json::object());
      if (!recipe.is_object()) continue;
      if (shared.is_null()) shared = recipe;
      for (auto at = shared.begin(); at != shared.end();)
        at = recipe.contains(at.key()) && recipe[at.key()] == *at ? std::next(at) : shared.erase(at);
    }
    if (!shared.is_object() || record_.entries.size() < 2) return "";
    std::string text;
    for (const auto& [key, value] : shared.items())
      if (value != "" && value != false)
        text += (text.empty() ? "" : "\n") + key + ": " + (value.is_string() ? value.get<std::string>() : value.dump());
    return text;
  }

  fs::path folder_, page_;
  Record record_;
  size_t budget_ = kMostBytes, used_ = 0;
  std::map<std::string, std::string> earlier_, earlier_inputs_;
  ordered_json inputs_ = ordered_json::object();
  int64_t failed_ = 0, without_picture_ = 0;
};

}  // namespace

GallerySummary write_gallery(const fs::path& folder) {
  return Gallery(folder).write();
}

}  // namespace tessera
