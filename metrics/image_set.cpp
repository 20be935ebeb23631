#include "metrics/image_set.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/manifest_lines.h"
#include "media/file_types.h"
#include "media/media_files.h"
#include "weights/npz.h"

namespace fs = std::filesystem;

namespace tessera {
namespace {

std::string label_of(const fs::path& folder, const fs::path& path) {
  const fs::path inside = path.lexically_relative(folder);
  return std::distance(inside.begin(), inside.end()) > 1 ? inside.begin()->string() : "";
}

std::vector<ImageSource> of_folder(const fs::path& folder, const NoteListener& note) {
  const MediaFiles media = find_media(folder, {Medium::kPicture, Medium::kVideo});
  if (note && !media.note.empty()) note(media.note);
  std::vector<ImageSource> found;
  for (const fs::path& path : media.files) found.push_back({path, label_of(folder, path), is_video_file(path)});
  if (found.empty())
    throw Error("there is no picture or video in or below " + folder.string() + " (looked for " +
                extensions_read_as(Medium::kPicture) + " and " + extensions_read_as(Medium::kVideo) +
                "); check the path");
  return found;
}

/// The outputs that a record has as done, by the ids of their jobs.
void read_manifest(const fs::path& path, std::map<std::string, std::string>& output_of) {
  for_each_manifest_line(path, [&](const ManifestLine& line) {
    const nlohmann::json& entry = line.entry;
    if (entry.is_null()) return;
    const nlohmann::json output = entry.value("output", nlohmann::json());
    if (entry.value("status", nlohmann::json()) == "done" && output.is_string())
      output_of[entry["id"]] = output;
    else
      output_of.erase(entry["id"]);
  });
}

std::vector<ImageSource> of_batch(const fs::path& folder, const fs::path& manifest, const NoteListener& note) {
  std::map<std::string, std::string> output_of;
  read_manifest(manifest, output_of);
  for (const fs::path& shard : find_shards(folder)) read_manifest(shard, output_of);
  std::vector<ImageSource> found;
  for (const auto& [id, output] : output_of) {
    fs::path path = folder / output;
    if (path.filename().string().find('%') != std::string::npos)
      path = path.parent_path();  // ID/%04d.png: a frame each
    if (fs::is_directory(path)) {
      for (const ImageSource& frame : of_folder(path, note)) found.push_back({frame.path, "", frame.is_video});
      continue;
    }
    if (!fs::is_regular_file(path))
      throw Error(manifest.string() + " says that " + id + " is done, but there is no file " + path.string() +
                  "; run tessera batch --resume, or name the folder of the files that you want");
    found.push_back({path, label_of(folder, path), is_video_file(path)});
  }
  if (found.empty()) throw Error(manifest.string() + " lists no finished output");
  return found;
}

}  // namespace

std::vector<ImageSource> find_images(const fs::path& path, const NoteListener& note) {
  std::error_code ignored;
  if (path.filename() == "manifest.jsonl" && fs::is_regular_file(path, ignored))
    return of_batch(path.has_parent_path() ? path.parent_path() : ".", path, note);
  if (fs::is_directory(path, ignored)) {
    const fs::path manifest = manifest_path(path);
    return fs::is_regular_file(manifest, ignored) ? of_batch(path, manifest, note) : of_folder(path, note);
  }
  if (!fs::is_regular_file(path, ignored))
    throw Error("there is no folder or file " + path.string() +
                "; want pictures, videos, a folder of a batch, or .npz");
  if (is_picture_array(path)) return {{path, "", false, true}};
  const bool is_video = is_video_file(path);
  if (!is_video && !is_picture_file(path))
    throw Error(path.string() + " is no picture, video, manifest.jsonl or .npz by its name");
  return {{path, "", is_video}};
}

bool is_picture_array(const fs::path& path) {
  std::error_code ignored;
  return lower_extension(path) == ".npz" && fs::is_regular_file(path, ignored) && NpzFile(path).has("arr_0");
}

}  // namespace tessera
