#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>

#include "core/text.h"
#include "pipelines/analyze.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

/// Points of one call, over layers.
struct Line {
  std::string name;
  std::vector<std::pair<int64_t, double>> points;
};

/// One number of a layer, absent where the layer has none.
using Number = std::function<std::optional<double>(const LayerFigures&)>;

double mean_of(const LayerFigures& layer, double (*number)(const HeadFigures&)) {
  double sum = 0;
  for (const HeadFigures& head : layer.heads) sum += number(head);
  return sum / static_cast<double>(layer.heads.size());
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

std::vector<Line> lines_of(const std::vector<LayerFigures>& layers, const Number& number) {
  std::vector<Line> lines;
  std::map<int64_t, size_t> line_of_call;
  for (const LayerFigures& layer : layers) {
    const std::optional<double> value = number(layer);
    if (!value) continue;
    const auto [found, fresh] = line_of_call.try_emplace(layer.call, lines.size());
    if (fresh) lines.push_back({"call " + std::to_string(layer.call) + ", t = " + short_number(layer.timestep), {}});
    lines[found->second].points.emplace_back(layer.layer, *value);
  }
  return lines;
}

/// A chart of numbers over layers, a line a call, with axes from 0 (or the smallest number) to the largest.
std::string chart(const std::string& title, const std::string& unit, const std::vector<Line>& lines) {
  if (lines.empty()) return "";
  constexpr double kWidth = 560, kHeight = 260, kLeft = 60, kBottom = 40, kTop = 30, kRight = 150;
  constexpr const char* kColors[] = {"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2"};
  double low = 0, high = 0;
  int64_t last = 1;
  for (const Line& line : lines)
    for (const auto& [layer, value] : line.points)
      low = std::min(low, value), high = std::max(high, value), last = std::max(last, layer);
  if (high == low) high = low + 1;
  const auto x = [&](int64_t layer) {
    return kLeft + (kWidth - kLeft - kRight) * static_cast<double>(layer) / static_cast<double>(last);
  };
  const auto y = [&](double value) {
    return kHeight - kBottom - (kHeight - kBottom - kTop) * (value - low) / (high - low);
  };
  const auto text = [](double px, double py, const std::string& anchor, const std::string& words) {
    return "<text x=\"" + short_number(px) + "\" y=\"" + short_number(py) + "\" text-anchor=\"" + anchor + "\">" +
           escaped(words) + "</text>";
  };
  std::string svg = "<svg viewBox=\"0 0 560 260\" width=\"560\" role=\"img\"><title>" + escaped(title) + "</title>" +
                    text(kLeft, 16, "start", title);
  for (const double mark : {low, (low + high) / 2, high})
    svg += "<line class=\"grid\" x1=\"" + short_number(kLeft) + "\" x2=\"" + short_number(kWidth - kRight) +
           "\" y1=\"" + short_number(y(mark)) + "\" y2=\"" + short_number(y(mark)) + "\"/>" +
           text(kLeft - 6, y(mark) + 4, "end", short_number(mark));
  for (int64_t layer = 0; layer <= last; layer += std::max<int64_t>(1, (last + 9) / 10))
    svg += text(x(layer), kHeight - kBottom + 16, "middle", std::to_string(layer));
  svg += text((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", "layer");
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string color = kColors[i % std::size(kColors)];
    std::string points;
    for (const auto& [layer, value] : lines[i].points) {
      points += short_number(x(layer)) + "," + short_number(y(value)) + " ";
      svg += "<circle r=\"3\" fill=\"" + color + "\" cx=\"" + short_number(x(layer)) + "\" cy=\"" +
             short_number(y(value)) + "\"><title>layer " + std::to_string(layer) + ": " + short_number(value) + " " +
             escaped(unit) + "</title></circle>";
    }
    svg += "<polyline fill=\"none\" stroke=\"" + color + "\" points=\"" + points + "\"/>";
    const double row = kTop + 14 + 16 * static_cast<double>(i);
    svg += "<rect width=\"10\" height=\"10\" fill=\"" + color + "\" x=\"" + short_number(kWidth - kRight + 12) +
           "\" y=\"" + short_number(row - 9) + "\"/>" + text(kWidth - kRight + 26, row, "start", lines[i].name);
  }
  return svg + "</svg>\n";
}

std::string charts(const AttentionAnalysis& analysis) {
  const std::vector<LayerFigures>& layers = analysis.layers();
  const int64_t N = volume(analysis.grid());
  const auto of_heads = [](double (*number)(const HeadFigures&)) {
    return [number](const LayerFigures& layer) { return std::optional(mean_of(layer, number)); };
  };
  const auto given = [](const auto& field) {
    return field ? std::optional<double>(static_cast<double>(*field)) : std::nullopt;
  };
  return chart("Rank of the attention matrix, of " + std::to_string(N), "mean over heads",
               lines_of(layers, of_heads([](const HeadFigures& head) { return static_cast<double>(head.rank); }))) +
         chart("Rank with the convolution of v, first head", "",
               lines_of(layers, [&](const LayerFigures& layer) { return given(layer.rank_with_convolution); })) +
         chart("Effective rank", "mean over heads",
               lines_of(layers, of_heads([](const HeadFigures& head) { return head.effective_rank; }))) +
         chart("Entropy of a row: 0 one token, 1 all alike", "mean over heads and rows",
               lines_of(layers, of_heads([](const HeadFigures& head) { return head.entropy; }))) +
         chart("Smallest normalizer", "",
               lines_of(layers, [&](const LayerFigures& layer) { return given(layer.smallest_normalizer); })) +
         chart("Largest normalizer", "",
               lines_of(layers, [&](const LayerFigures& layer) { return given(layer.largest_normalizer); }));
}

std::string table(const AttentionAnalysis& analysis) {
  std::string rows;
  const auto cell = [](const std::string& text) { return "<td>" + text + "</td>"; };
  const auto optional = [&](const auto& value) {
    return cell(value ? short_number(static_cast<double>(*value)) : "-");
  };
  for (const LayerFigures& layer : analysis.layers())
    rows += "<tr>" + cell(std::to_string(layer.call)) + cell(short_number(layer.timestep)) +
            cell(std::to_string(layer.layer)) + cell(name_of(layer.kind)) +
            cell(short_number(mean_of(layer, [](const HeadFigures& h) { return static_cast<double>(h.rank); }))) +
            optional(layer.rank_with_convolution) +
            cell(short_number(mean_of(layer, [](const HeadFigures& h) { return h.effective_rank; }))) +
            cell(short_number(mean_of(layer, [](const HeadFigures& h) { return h.entropy; }))) +
            optional(layer.smallest_normalizer) + optional(layer.largest_normalizer) + "</tr>\n";
  return "<table><tr><th>call<th>timestep<th>layer<th>attention<th>rank<th>rank with convolution<th>effective rank"
         "<th>entropy<th>smallest normalizer<th>largest normalizer</tr>\n" +
         rows + "</table>\n";
}

std::string extent_words(const Extent3& extent) {
  return joined(std::vector<int64_t>(extent.begin(), extent.end()), " x ");
}

}  // namespace

Json analysis_json(const Job& job, const AttentionAnalysis& analysis) {
  const auto optional = [](const auto& value) { return value ? Json(*value) : Json(); };
  Json layers = Json::array();
  for (const LayerFigures& layer : analysis.layers()) {
    Json heads = Json::array();
    for (const HeadFigures& head : layer.heads)
      heads.push_back({{"rank", head.rank}, {"effective_rank", head.effective_rank}, {"entropy", head.entropy}});
    layers.push_back({{"call", layer.call},
                      {"timestep", layer.timestep},
                      {"layer", layer.layer},
                      {"attention", name_of(layer.kind)},
                      {"heads", heads},
                      {"rank_with_convolution", optional(layer.rank_with_convolution)},
                      {"smallest_normalizer", optional(layer.smallest_normalizer)},
                      {"largest_normalizer", optional(layer.largest_normalizer)}});
  }
  Json maps = Json::array();
  for (const AnalysisMap& map : analysis.maps())
    maps.push_back({{"file", map.name + ".png"},
                    {"title", map.title},
                    {"smallest", map.values.min().item<double>()},
                    {"largest", map.values.max().item<double>()}});
  return {{"job", recipe_json(job)},
          {"tokens", analysis.grid()},
          {"token", analysis.token()},
          {"layers", layers},
          {"maps", maps}};
}

std::string analysis_page(const Job& job, const AttentionAnalysis& analysis) {
  const std::string what = job.class_label ? "class " + *job.class_label : job.prompt;
  std::string pictures;
  for (const AnalysisMap& map : analysis.maps())
    pictures += "<figure><img src=\"" + map.name + ".png\" alt=\"\"><figcaption>" + escaped(map.title) + "; from " +
                short_number(map.values.min().item<double>()) + " to " + short_number(map.values.max().item<double>()) +
                "</figcaption></figure>\n";
  return "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Attention of " + escaped(what) +
         "</title>\n<style>body{font:14px system-ui,sans-serif;margin:2em;max-width:76em}svg text{font-size:12px}"
         ".grid{stroke:#ddd}table{border-collapse:collapse}td,th{padding:2px 10px;text-align:right;border-bottom:1px "
         "solid #ddd}figure{display:inline-block;margin:1em;vertical-align:top;max-width:24em}img{image-rendering:"
         "pixelated;max-width:100%;border:1px solid #ccc}</style>\n<h1>Attention of \"" +
         escaped(what) + "\"</h1>\n<p>" + extent_words(analysis.grid()) +
         " tokens (frames, rows, columns); the token mapped below is " + extent_words(analysis.token()) +
         ", counted from 0. Figures are of the conditional branch, means over heads; analysis.json has every head. "
         "White is 0, blue positive, red negative.</p>\n" +
         charts(analysis) + "<h2>Figures</h2>\n" + table(analysis) + "<h2>Maps</h2>\n" + pictures + "</html>\n";
}

}  // namespace tessera
