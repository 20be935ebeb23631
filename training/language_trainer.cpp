#include "training/language_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numbers>
#include <sstream>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/printable.h"
#include "core/transfer.h"
#include "core/visible_files.h"
#include "training/counter_rng.h"
#include "training/export.h"

namespace tessera {
namespace {

const char* const kLanguageClass = "TesseraLanguageModel";

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (!in) throw Error(path.string() + ": cannot be read as a text");
  return bytes.str();
}

at::Tensor tensor_of(const std::string& bytes) {
  at::Tensor out = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::memcpy(out.data_ptr(), bytes.data(), bytes.size());
  return out;
}

/// Rows of `length` + 1 bytes that begin at `starts`: the model sees all but the last and predicts all but the first.
at::Tensor sequences(const at::Tensor& text, const std::vector<int64_t>& starts, int64_t length) {
  std::vector<at::Tensor> rows;
  for (const int64_t start : starts) rows.push_back(text.narrow(0, start, length + 1));
  return at::stack(rows).to(at::kLong);
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& bytes) {
  return at::cross_entropy_loss(logits.to(at::kFloat).flatten(0, 1), bytes.flatten());
}

}  // namespace

LanguageTrainConfig LanguageTrainConfig::read(const std::filesystem::path& path) {
  const JsonConfig json = JsonConfig::read(path);
  std::vector<std::string> known = RunConfig::keys();
  for (const char* key : {"text", "output", "model", "batch", "held_out_sequences"}) known.emplace_back(key);
  json.reject_unknown(known);
  LanguageTrainConfig config;
  config.run = RunConfig::from_json(json);
  const nlohmann::json text = json.has("text") ? json.json().at("text") : nlohmann::json();
  const auto is_text = [](const nlohmann::json& value) { return value.is_string(); };
  if (!text.is_array() || text.empty() || !std::all_of(text.begin(), text.end(), is_text))
    json.fail("text", "must be a list of files and folders");
  for (const auto& item : text) config.text.emplace_back(item.get<std::string>());
  config.output = json.text("output");
  config.model = json.object("model").json();
  LanguageModelConfig::from_json(json.object("model"));
  config.batch = at_least(json, "batch", config.batch, 1);
  config.held_out_sequences = at_least(json, "held_out_sequences", config.held_out_sequences, 1);
  return config;
}

SplitText read_text(const std::vector<std::filesystem::path>& paths, int64_t least) {
  std::vector<std::filesystem::path> files;
  for (const auto& path : paths) {
    if (!is_folder(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& file : visible_files(path)) files.push_back(path / file);
  }
  std::string training, held_out;
  for (const auto& file : files) {
    const std::string bytes = bytes_of(file);
    const size_t kept = bytes.size() - bytes.size() / 10;
    training += bytes.substr(0, kept);
    held_out += bytes.substr(kept);
  }
  const auto shorter = static_cast<int64_t>(std::min(training.size(), held_out.size()));
  if (shorter < least)
    throw Error("the text is too short: " + std::to_string(training.size()) + " bytes to train on and " +
                std::to_string(held_out.size()) + " held out; want " + std::to_string(least) +
                " or more of each (one sequence)");
  return {tensor_of(training), tensor_of(held_out)};
}

double bits_per_byte(const at::Tensor& logits, const at::Tensor& bytes) {
  return cross_entropy(logits, bytes).item<double>() / std::numbers::ln2;
}

LanguageTrainer::LanguageTrainer(LanguageTrainConfig config)
    : Trainer(config.run),
      config_(std::move(config)),
      model_config_(LanguageModelConfig::from_json(JsonConfig(config_.model, "model"))),
      text_(read_text(config_.text, model_config_.length + 1)),
      model_(model_config_) {
  model_.params(params_);
  initialize(params_, config_.run.seed, config_.run.device);
  start(params_, {});
}

double LanguageTrainer::step() {
  const int64_t length = model_config_.length;
  CounterRng rng(config_.run.seed * 31 + 13, static_cast<uint64_t>(run_.step()));
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < config_.batch; ++i) starts.push_back(rng.below(text_.training.size(0) - length));
  const at::Tensor rows = uploaded(sequences(text_.training, starts, length), config_.run.device);
  const double loss = backward(config_.batch, config_.run.device, [&](int64_t first, int64_t count) {
                        const at::Tensor part = rows.narrow(0, first, count);
                        return std::vector{cross_entropy(model_(part.narrow(1, 0, length), config_.run.dtype),
                                                         part.narrow(1, 1, length))};
                      }).front();
  const double rate = config_.run.learning_rate * run_.rate_factor();
  const double norm = optimizer_->step(rate, rate);
  run_.record("language", config_.batch, {{"bits", loss / std::numbers::ln2}, {"norm", norm}});
  return loss;
}

int64_t LanguageTrainer::held_out_rows() const {
  return std::min(config_.held_out_sequences, (text_.held_out.size(0) - 1) / model_config_.length);
}

double LanguageTrainer::held_out_bits() const {
  const c10::NoGradGuard no_gradients;
  const int64_t length = model_config_.length, count = held_out_rows();
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    // Spread over the held-out text, so that few sequences still see all files.
    const int64_t last = text_.held_out.size(0) - length - 1;
    const at::Tensor row =
        uploaded(sequences(text_.held_out, {count > 1 ? last * i / (count - 1) : 0}, length), config_.run.device);
    sum += bits_per_byte(model_(row.narrow(1, 0, length), config_.run.dtype), row.narrow(1, 1, length));
  }
  return sum / static_cast<double>(count);
}

void LanguageTrainer::draw_sheet() {
  std::fprintf(stderr, "held-out text: %.4f bits per byte\n", held_out_bits());
}

void LanguageTrainer::write_output() {
  const double bits = held_out_bits();
  export_component({"language", "transformers", kLanguageClass, config_.output}, config_.model, params_);
  write_json(config_.output / "scores.json",
             {{"bits_per_byte", bits}, {"bytes", held_out_rows() * model_config_.length}});
  std::fprintf(stderr, "wrote %s: %.4f bits per byte of held-out text\n",
               printable_line(config_.output.string()).c_str(), bits);
}

}  // namespace tessera
