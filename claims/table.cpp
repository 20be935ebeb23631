#include "claims/table.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "claims/json_number.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

const char* word_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHolds:
      return "holds";
    case Verdict::kContradicted:
      return "contradicted";
    case Verdict::kUndecided:
      return "undecided";
  }
  return "undecided";
}

Spread spread_from(const Json& json) {
  return {number_of(json.at("mean")), number_of(json.at("deviation")), json.at("count").get<int64_t>()};
}

Json to_json(const Spread& spread) {
  return {{"mean", spread.mean}, {"deviation", spread.deviation}, {"count", spread.count}};
}

/// The runs of one row as one.
Json summarize_row(const ClaimTask& task, const ClaimRow& row, const std::vector<ClaimRun>& runs) {
  const ClaimRun& first = runs.front();
  const auto spread = [&](const auto& value_of) {
    std::vector<double> values;
    for (const ClaimRun& run : runs) values.push_back(value_of(run));
    return to_json(spread_of(values));
  };
  Json out = {{"name", row.name},
              {"attention", Json(row.attention)},
              {"parameters", first.parameters},
              {"tokens", first.tokens},
              {"head_width", first.head_width},
              {"flops", first.flops},
              {"step_ms", std::ranges::min(runs, {}, &ClaimRun::step_ms).step_ms}};
  for (const Measure& measure : measures_of_trainer(task.trainer))
    out[measure.name] = spread([&](const ClaimRun& run) { return run.measures.at(measure.name); });
  return out;
}

const Json* find_row(const Json& rows, const std::string& name) {
  for (const Json& row : rows)
    if (row.at("name") == name) return &row;
  return nullptr;
}

Json summarize_comparisons(const ClaimTask& task, const Json& rows) {
  Json out = Json::array();
  for (const Comparison& comparison : task.comparisons) {
    const Json *better = find_row(rows, comparison.better), *than = find_row(rows, comparison.than);
    Verdict verdict = Verdict::kUndecided;
    for (const Measure& measure : measures_of_trainer(task.trainer))
      if (better && than && measure.name == comparison.measure)
        verdict = compare(spread_from(better->at(measure.name)), spread_from(than->at(measure.name)), measure.better);
    out.push_back({{"source", comparison.source},
                   {"better", comparison.better},
                   {"than", comparison.than},
                   {"measure", comparison.measure},
                   {"verdict", word_of(verdict)}});
  }
  return out;
}

std::string digits(double value, const char* format = "%.4g") {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string cell(const Spread& spread) {
  return digits(spread.mean) + (spread.count > 1 ? " ± " + digits(spread.deviation, "%.2g") : "");
}

std::string line(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const std::string& text : cells) out += " " + text + " |";
  return out + "\n";
}

/// Header and rule; the first column is text, the others numbers.
std::string header(const std::vector<std::string>& cells) {
  std::string out = line(cells) + "|---|";
  for (size_t i = 1; i < cells.size(); ++i) out += "---:|";
  return out + "\n";
}

std::string task_table(const Json& task) {
  std::vector<std::string> titles = {"attention"};
  const auto measures = measures_of_trainer(task.at("trainer"));
  for (const Measure& measure : measures)
    titles.push_back(measure.title + (measure.better == Direction::kLower ? " ↓" : " ↑"));
  for (const char* title : {"seeds", "parameters", "GFLOP a step", "least ms a step", "tokens", "head width"})
    titles.emplace_back(title);
  std::string out = header(titles);
  for (const Json& row : task.at("rows")) {
    std::vector<std::string> cells = {row.at("name")};
    for (const Measure& measure : measures) cells.push_back(cell(spread_from(row.at(measure.name))));
    cells.push_back(std::to_string(row.at(measures.front().name).at("count").get<int64_t>()));
    cells.push_back(std::to_string(row.at("parameters").get<int64_t>()));
    cells.push_back(digits(row.at("flops").get<double>() / 1e9));
    cells.push_back(digits(row.at("step_ms").get<double>()));
    cells.push_back(std::to_string(row.at("tokens").get<int64_t>()));
    cells.push_back(std::to_string(row.at("head_width").get<int64_t>()));
    out += line(cells);
  }
  return out;
}

/// "Published: SOURCE. Here it holds: ..." for each comparison whose rows are there.
std::string sentences(const Json& task) {
  std::string out;
  for (const Json& comparison : task.at("comparisons")) {
    const std::string better = comparison.at("better"), than = comparison.at("than"), name = comparison.at("measure");
    const Json *first = find_row(task.at("rows"), better), *second = find_row(task.at("rows"), than);
    if (!first || !second) continue;
    const std::string verdict = comparison.at("verdict");
    const std::string numbers =
        better + " " + cell(spread_from(first->at(name))) + ", " + than + " " + cell(spread_from(second->at(name)));
    const std::string here = verdict == "holds"          ? "**Here too**: "
                             : verdict == "contradicted" ? "**Here it is the other way round**: "
                                                         : "**Here it is not decided** (too close, or too few seeds): ";
    out += "- " + comparison.at("source").get<std::string>() + " " + here + numbers + ".\n";
  }
  return out.empty() ? "" : "\n" + out;
}

std::string published_tables(const nlohmann::json& published) {
  std::string out;
  for (const nlohmann::json& table : published.at("tables")) {
    out += "\n" + table.at("title").get<std::string>() + "\n\n";
    out += header(table.at("columns").get<std::vector<std::string>>());
    for (const nlohmann::json& row : table.at("rows")) out += line(row.get<std::vector<std::string>>());
  }
  return out;
}

}  // namespace

Spread spread_of(const std::vector<double>& values) {
  TORCH_CHECK(!values.empty(), "spread_of: no values");
  Spread out;
  out.count = static_cast<int64_t>(values.size());
  const auto count = static_cast<double>(values.size());
  for (const double value : values) out.mean += value / count;
  double squares = 0;
  for (const double value : values) squares += (value - out.mean) * (value - out.mean);
  out.deviation = values.size() > 1 ? std::sqrt(squares / (count - 1)) : 0.0;
  return out;
}

Verdict compare(const Spread& better, const Spread& than, Direction direction) {
  if (better.count < 2 || than.count < 2) return Verdict::kUndecided;
  const double gain = (better.mean - than.mean) * (direction == Direction::kHigher ? 1 : -1);
  const auto variance = [](const Spread& s) { return s.deviation * s.deviation / static_cast<double>(s.count); };
  if (!std::isfinite(gain)) return Verdict::kUndecided;  // a run that diverged
  if (std::abs(gain) <= 2 * std::sqrt(variance(better) + variance(than))) return Verdict::kUndecided;
  return gain > 0 ? Verdict::kHolds : Verdict::kContradicted;
}

nlohmann::ordered_json summarize(const ClaimSettings& settings) {
  Json tasks = Json::array(), all = Json::array();
  int64_t missing = 0;
  for (const ClaimTask& task : settings.tasks) {
    Json rows = Json::array();
    for (const ClaimRow& row : task.rows) {
      std::vector<ClaimRun> runs;
      for (const int64_t seed : settings.seeds) {
        const auto run = find_run(settings, task, row, seed);
        if (!run) {
          ++missing;
          continue;
        }
        runs.push_back(*run);
        all.push_back(run->to_json());
      }
      if (!runs.empty()) rows.push_back(summarize_row(task, row, runs));
    }
    tasks.push_back({{"name", task.name},
                     {"trainer", task.trainer},
                     {"config", Json(task.config)},
                     {"rows", rows},
                     {"comparisons", summarize_comparisons(task, rows)}});
  }
  return {{"seeds", settings.seeds}, {"missing", missing}, {"tasks", tasks}, {"runs", all}};
}

std::string claims_page(const nlohmann::ordered_json& summary, const nlohmann::json& published,
                        const std::string& command) {
  std::string out =
      "# The papers' claims, put to a small test\n\n"
      "This page is written by `" +
      command +
      "` from its JSON; no number in it was typed. Within a task all rows have the same "
      "data, steps, batch, width and depth; only the attention differs, and with it the number of parameters. Values "
      "are means "
      "over the seeds ± the sample standard deviation. GFLOP a step counts the matrix products, convolutions and fused "
      "attentions of a training step, forward, backward and optimizer; its milliseconds are the least mean of the "
      "steps "
      "between two lines of a log, which other work on the machine disturbs least. The models are small and briefly "
      "trained: an "
      "order that "
      "holds here says something, one that does not may need the papers' size.\n";
  for (const Json& task : summary.at("tasks")) {
    if (task.at("rows").empty()) continue;
    out += "\n## " + task.at("name").get<std::string>() + "\n\n" +
           std::to_string(task.at("config").at("steps").get<int64_t>()) + " steps a run.\n\n" + task_table(task) +
           sentences(task);
  }
  const auto missing = summary.at("missing").get<int64_t>();
  if (missing > 0) out += "\n" + std::to_string(missing) + " runs have not been made yet.\n";
  return out + "\n## The papers' figures\n" + published_tables(published);
}

}  // namespace tessera
