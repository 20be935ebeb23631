#include "training/data_items.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string_view>

#include "core/error.h"
#include "core/printable.h"
#include "core/text.h"
#include "core/utf8.h"
#include "core/visible_files.h"
#include "training/archive.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kLongestCaption = 64 << 10;
constexpr const char* kCaptionKeys[] = {"caption", "text", "prompt"};

/// Text without the mark that some editors put before UTF-8.
std::string without_mark(std::string text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  return text.starts_with(kMark) ? text.substr(kMark.size()) : text;
}

std::string whole_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error("cannot read " + path.string() + ": no such file or no permission; check the path");
  std::ostringstream text;
  text << in.rdbuf();
  return without_mark(text.str());
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string caption_of(const json& object) {
  for (const char* key : kCaptionKeys)
    if (object.contains(key) && object.at(key).is_string()) return trimmed(object.at(key).get<std::string>());
  return "";
}

Medium medium_of(const fs::path& path) {
  return is_picture_file(path) ? Medium::kPicture : is_video_file(path) ? Medium::kVideo : Medium::kNone;
}

/// Sorts what was found into items and dropped ones.
class Collector {
 public:
  void add(DataItem item) {
    item.caption = trimmed(item.caption);
    if (item.caption.empty())
      drop(item.name, "it has no caption");
    else if (item.caption.size() > kLongestCaption)
      drop(item.name, "its caption has " + std::to_string(item.caption.size()) + " bytes, more than " +
                          std::to_string(kLongestCaption));
    else if (!is_utf8_text(item.caption))
      drop(item.name, "its caption is not text in UTF-8");
    else if (!is_utf8_text(item.name))
      drop(item.name, "its name is not text in UTF-8");
    else
      set_.items.push_back(std::move(item));
  }
  /// A file that a table names.
  void add_named(const fs::path& path, const std::string& caption) {
    DataItem item{.name = path.string(), .path = path, .medium = medium_of(path), .caption = caption};
    if (!is_there(path)) return drop(item.name, "there is no such file");
    if (is_folder(path)) {
      item.frame_folder = true;
      item.medium = Medium::kVideo;
    }
    if (item.medium == Medium::kNone) return drop(item.name, "its extension is that of no picture or video");
    add(std::move(item));
  }
  void drop(const std::string& name, const std::string& reason) {
    set_.dropped.push_back({printable_line(name), printable_line(reason)});
  }

  DataSet finish(const fs::path& path) {
    if (set_.items.empty())
      throw Error(path.string() + ": holds no picture or video with a caption (" +
                  counted(static_cast<int64_t>(set_.dropped.size()), "file was", "files were") + " dropped" +
                  (set_.dropped.empty() ? "" : ", the first because " + set_.dropped.front().reason) +
                  "); want NAME.txt beside NAME.mp4, metadata.jsonl, metadata.csv, a .jsonl file, a .tar or a .zip");
    return std::move(set_);
  }

 private:
  DataSet set_;
};

/// Calls use(object, place) for each line that is not blank.
template <class Use>
void each_json_line(const fs::path& path, const Use& use) {
  std::istringstream lines(whole_text(path));
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (trimmed(line).empty()) continue;
    const std::string where = path.string() + ", line " + std::to_string(number);
    const json object = json::parse(line, nullptr, false);
    if (!object.is_object()) throw Error(where + ": want one JSON object on each line; check the line");
    use(object, where);
  }
}

void list_jsonl(const fs::path& path, Collector& found) {
  each_json_line(path, [&](const json& object, const std::string& where) {
    for (const char* key : {"video_path", "image_path"})
      if (object.contains(key) && object.at(key).is_string())
        return found.add_named(path.parent_path() / object.at(key).get<std::string>(), caption_of(object));
    throw Error(where + ": has neither image_path nor video_path, the file that the caption is for");
  });
}

/// Files of the table's folder that it does not name.
void drop_unnamed(const fs::path& table, const std::set<fs::path>& named, Collector& found) {
  for (const fs::path& file : scan_folder(table.parent_path()).files)
    if (medium_of(file) != Medium::kNone && !named.count(file.lexically_normal()) &&
        !named.count(file.parent_path().lexically_normal()))
      found.drop(file.string(), table.filename().string() + " does not name it");
}

void list_metadata_jsonl(const fs::path& path, Collector& found) {
  std::set<fs::path> named;
  each_json_line(path, [&](const json& object, const std::string& where) {
    if (!object.contains("file_name") || !object.at("file_name").is_string())
      throw Error(where + ": has no file_name, the file that the caption is for");
    const fs::path file = path.parent_path() / object.at("file_name").get<std::string>();
    named.insert(file.lexically_normal());
    found.add_named(file, caption_of(object));
  });
  drop_unnamed(path, named, found);
}

void list_metadata_csv(const fs::path& path, Collector& found) {
  std::set<fs::path> named;
  for (const auto& row : parse_csv(whole_text(path), path.string())) {
    const auto file = row.find("file_name");
    if (file == row.end()) throw Error(path.string() + ": has no column file_name, the file that a caption is for");
    const fs::path named_file = path.parent_path() / file->second;
    named.insert(named_file.lexically_normal());
    found.add_named(named_file, caption_of(json(row)));
  }
  drop_unnamed(path, named, found);
}

void list_folder(const fs::path& folder, CaptionSource captions, Collector& found) {
  const FolderScan scan = scan_folder(folder);
  for (const fs::path& lost : scan.lost) found.drop(lost.string(), "it is a link to nothing");
  for (const auto& odd : scan.unlisted) found.drop(odd.path.string(), "it cannot be listed: " + odd.what);
  std::set<fs::path> texts, used;
  for (const fs::path& file : scan.files) {
    if (lower_extension(file) == ".txt") texts.insert(file);
    const Medium medium = medium_of(file);
    if (medium == Medium::kNone) continue;
    const fs::path text = fs::path(file).replace_extension(".txt");
    std::string caption;
    if (is_there(text)) {
      used.insert(text);
      caption = whole_text(text);
    } else if (captions == CaptionSource::kFolders) {
      caption = fs::absolute(file).parent_path().filename().string();
    }
    found.add({.name = file.string(), .path = file, .medium = medium, .caption = caption});
  }
  for (const fs::path& text : texts)
    if (!used.count(text)) found.drop(text.string(), "there is no picture or video of its name");
}

/// WebDataset: the members of one sample share what stands before the first dot of their file name.
void list_archive(const fs::path& path, Collector& found) {
  const Archive archive(path);
  struct Sample {
    std::string member, caption;
  };
  std::map<std::string, Sample> samples;
  for (const std::string& name : archive.names()) {
    const size_t slash = name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1;
    const size_t dot = name.find('.', slash);
    if (dot == std::string::npos || dot == slash) continue;
    Sample& sample = samples[name.substr(0, dot)];
    const std::string extension = in_lower_case(name.substr(dot));
    if (extension == ".txt") {
      sample.caption = without_mark(archive.bytes(name));
    } else if (extension == ".json") {
      const json object = json::parse(archive.bytes(name), nullptr, false);
      if (!object.is_object()) throw Error(path.string() + ": " + name + " is not a JSON object; check the archive");
      if (sample.caption.empty()) sample.caption = caption_of(object);
    } else if (medium_of(name) != Medium::kNone) {
      if (!sample.member.empty())
        found.drop(path.string() + ": " + name, "its sample has another picture or video");
      else
        sample.member = name;
    }
  }
  for (const auto& [key, sample] : samples)
    if (sample.member.empty() && !sample.caption.empty())
      found.drop(path.string() + ": " + key, "it has a caption, and no picture or video");
    else if (!sample.member.empty())
      found.add({.name = path.string() + ": " + sample.member,
                 .path = path,
                 .member = sample.member,
                 .medium = medium_of(sample.member),
                 .caption = sample.caption});
}

}  // namespace

bool is_archive(const fs::path& path) {
  const std::string extension = lower_extension(path);
  return is_there(path) && !is_folder(path) && (extension == ".tar" || extension == ".zip");
}

DataSet list_data(const fs::path& path, CaptionSource captions) {
  Collector found;
  const std::string extension = lower_extension(path);
  if (!is_there(path))
    throw Error(path.string() + ": no such file or folder; want a folder, a .jsonl, a .tar or a .zip of training data");
  if (is_folder(path)) {
    if (is_there(path / "metadata.jsonl"))
      list_metadata_jsonl(path / "metadata.jsonl", found);
    else if (is_there(path / "metadata.csv"))
      list_metadata_csv(path / "metadata.csv", found);
    else
      list_folder(path, captions, found);
  } else if (extension == ".jsonl") {
    list_jsonl(path, found);
  } else if (is_archive(path)) {
    list_archive(path, found);
  } else {
    throw Error(path.string() + ": want a folder, a .jsonl, a .tar or a .zip of training data");
  }
  return found.finish(path);
}

std::vector<std::map<std::string, std::string>> parse_csv(const std::string& text, const std::string& where) {
  std::vector<std::vector<std::string>> rows(1, {""});
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    std::string& field = rows.back().back();
    if (quoted) {
      if (c != '"')
        field += c;
      else if (i + 1 < text.size() && text[i + 1] == '"')
        field += text[++i];
      else
        quoted = false;
    } else if (c == '"' && field.empty()) {
      quoted = true;
    } else if (c == ',') {
      rows.back().emplace_back();
    } else if (c == '\n') {
      rows.push_back({""});
    } else if (c != '\r') {
      field += c;
    }
  }
  if (quoted) throw Error(where + ": a quoted field does not end; check the quotes");
  std::vector<std::map<std::string, std::string>> table;
  for (size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].size() == 1 && rows[i].front().empty()) continue;  // a blank line
    if (rows[i].size() != rows.front().size())
      throw Error(where + ": row " + std::to_string(i) + " has " + std::to_string(rows[i].size()) +
                  " fields, the header " + std::to_string(rows.front().size()) + "; quote fields that hold commas");
    for (size_t column = 0; column < rows[i].size(); ++column) {
      if (column == 0) table.emplace_back();
      table.back()[trimmed(rows.front()[column])] = rows[i][column];
    }
  }
  return table;
}

}  // namespace tessera
