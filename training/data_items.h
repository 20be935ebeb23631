#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "media/file_types.h"

namespace tessera {

/// One picture or video of a training set, with its caption.
struct DataItem {
  std::string name;            ///< for messages and reports: "clips/cat.mp4", "set.tar: 0001.mp4"
  std::filesystem::path path;  ///< the file, the folder of frames, or the archive
  std::string member = {};     ///< its name in the archive; "" outside of archives
  Medium medium = Medium::kPicture;
  bool frame_folder = false;  ///< the video is a folder of pictures, in natural order
  std::string caption;        ///< never empty
};

/// What is not trained on, and why.
struct DroppedItem {
  std::string name, reason;
};

struct DataSet {
  std::vector<DataItem> items;
  std::vector<DroppedItem> dropped;
};

/// Where a folder's files have their captions.
enum class CaptionSource {
  kTexts,   ///< in NAME.txt beside them
  kFolders  ///< there, or else they are called what their folder is: a folder for each class
};

/// Lists a training set as people keep it, by what `path` is:
/// - a folder with metadata.jsonl or metadata.csv (Hugging Face): `file_name` and `text`, `caption` or `prompt`;
/// - any other folder: pictures and videos in and below it with their caption in NAME.txt beside them;
/// - a .jsonl file (musubi): `image_path` or `video_path` (a folder of frames is a video) and `caption`; paths are
///   relative to the file;
/// - a .tar or .zip file (WebDataset): KEY.EXTENSION with KEY.txt, or KEY.json with `caption`, `text` or `prompt`.
/// Dropped are items without a caption or with one that is no text or longer than 64 KiB, lines whose file is missing,
/// captions without a file, and files that their folder's table does not name. Throws Error naming file and line for
/// what cannot be parsed, and when nothing is left.
DataSet list_data(const std::filesystem::path& path, CaptionSource captions = CaptionSource::kTexts);

/// Whether `path` is a file that list_data takes for an archive.
bool is_archive(const std::filesystem::path& path);

/// A CSV table with a header line, as RFC 4180 has it: quoted fields may hold commas, doubled quotes and line ends.
/// Rows by the names of the header. Throws Error naming `where` and the line.
std::vector<std::map<std::string, std::string>> parse_csv(const std::string& text, const std::string& where);

}  // namespace tessera
