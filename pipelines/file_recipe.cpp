#include "pipelines/file_recipe.h"

#include <fstream>

#include "checkpoints/fingerprint.h"
#include "core/error.h"
#include "core/version.h"
#include "media/file_types.h"
#include "media/frame_writer.h"
#include "media/jpeg_text.h"
#include "media/png_text.h"
#include "media/video_reader.h"
#include "pipelines/parameters_text.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string read_bytes(const fs::path& path, int64_t most) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(static_cast<size_t>(most), '\0');
  in.read(bytes.data(), most);
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

[[noreturn]] void no_recipe(const std::string& where) {
  throw Error(where +
              " has no recipe; want a PNG, a JPEG, a video or saved latents written by tessera, or another program's "
              "picture with \"parameters\"");
}

/// The recipe that output_recipe (pipelines/recipe.h) wrote.
FileRecipe own_recipe(const std::string& text, const std::string& where) {
  const auto whole = nlohmann::json::parse(text, nullptr, false);
  if (!whole.is_object() || !whole.contains("job") || !whole["job"].is_object()) no_recipe(where);
  FileRecipe recipe;
  apply_json(recipe.job, whole["job"], where);
  const auto text_at = [&](const char* key) {
    return whole.contains(key) && whole[key].is_string() ? whole[key].get<std::string>() : std::string();
  };
  recipe.version = text_at("version");
  recipe.model_fingerprint = text_at("model_fingerprint");
  if (whole.contains("tiling"))
    recipe.notes.push_back(where + " holds several pictures side by side; this recipe is that of the first");
  return recipe;
}

FileRecipe picture_recipe(const fs::path& path, bool lora_tags) {
  const std::string bytes = read_bytes(path, static_cast<int64_t>(fs::file_size(path)));
  const ImageText text = is_png(bytes) ? read_png_text(bytes, path.string()) : read_jpeg_text(bytes, path.string());
  if (const auto own = text.find("tessera"); own != text.end()) return own_recipe(own->second, path.string());
  const auto parameters = text.find("parameters");
  if (parameters == text.end()) {
    if (text.count("workflow"))
      throw Error(path.string() + " holds a ComfyUI workflow, which tessera cannot run; give the settings as options");
    no_recipe(path.string());
  }
  FileRecipe recipe;
  recipe.job = job_from_parameters(parameters->second, path.string(), recipe.notes, lora_tags);
  return recipe;
}

FileRecipe latents_recipe(const fs::path& path) {
  const TensorFile file = read_safetensors(path);
  const auto text = file.metadata().find("tessera");
  if (text == file.metadata().end()) no_recipe(path.string());
  return own_recipe(text->second, path.string());
}

FileRecipe video_recipe(const fs::path& path) {
  std::map<std::string, std::string> tags;
  try {
    tags = read_video(path, 1).tags;
  } catch (const Error& error) {
    throw Error(std::string(error.what()) +
                "; a recipe is read from a PNG, a JPEG, a video or saved latents (.safetensors)");
  }
  const auto comment = tags.find("comment");
  if (comment == tags.end()) no_recipe(path.string());
  return own_recipe(comment->second, path.string());
}

fs::path existing(const fs::path& path) {
  std::error_code failed;
  const bool escaped = path.filename().string().find('%') != std::string::npos && !fs::exists(path, failed);
  const FileType* type = find_file_type(path);
  const bool picture = type && type->written_as == Medium::kPicture;
  const bool pattern = escaped && picture && output_kind(path) == OutputKind::kFrames;
  const fs::path file = pattern ? frame_path(path, 0) : path;
  if (fs::is_directory(file, failed))
    throw Error(file.string() + " is a folder; for a sequence of frames give one of them, or DIR/frame_%04d.png");
  if (!std::ifstream(file)) throw Error("cannot read " + file.string() + ": no such file or no permission");
  return file;
}

}  // namespace

FileRecipe read_file_recipe(const fs::path& path, bool lora_tags) {
  const fs::path file = existing(path);
  const std::string start = read_bytes(file, 8);
  if (is_png(start) || is_jpeg(start)) return picture_recipe(file, lora_tags);
  if (is_picture_file(file))
    throw Error(file.string() +
                " begins neither like a PNG nor like a JPEG; check the file; of pictures only these two "
                "hold a recipe");
  if (file.extension() == ".safetensors") return latents_recipe(file);
  return video_recipe(file);
}

std::vector<std::string> reproduction_notes(const FileRecipe& recipe, const Job& job) {
  std::vector<std::string> notes = recipe.notes;
  if (!recipe.version.empty() && recipe.version != program_version())
    notes.push_back("made by tessera " + recipe.version + ", this is " + program_version() + ": pixels may differ");
  if (!recipe.model_fingerprint.empty() && recipe.model_fingerprint != model_fingerprint(job))
    notes.emplace_back("made with another model, or files of the model have changed since: pixels may differ");
  return notes;
}

}  // namespace tessera
