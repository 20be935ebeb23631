#include "training/loss_plot.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/atomic_file.h"

namespace tessera {
namespace {

constexpr double kPlotWidth = 900, kPlotHeight = 420, kMargin = 60;

using Curve = std::map<int64_t, double>;

struct Axes {
  double first = 0, last = 1, low = 0, high = 1;

  double x(double step) const { return kMargin + (kPlotWidth - 2 * kMargin) * (step - first) / (last - first); }
  double y(double loss) const {
    return kPlotHeight - kMargin - (kPlotHeight - 2 * kMargin) * (loss - low) / (high - low);
  }
};

std::string shown_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

Axes axes_of(const std::map<std::string, Curve>& curves) {
  Axes axes;
  bool any = false;
  for (const auto& [name, curve] : curves)
    for (const auto& [step, loss] : curve) {
      const auto at = static_cast<double>(step);
      axes.first = any ? std::min(axes.first, at) : at;
      axes.last = any ? std::max(axes.last, at) : at;
      axes.low = any ? std::min(axes.low, loss) : loss;
      axes.high = any ? std::max(axes.high, loss) : loss;
      any = true;
    }
  if (!(axes.last > axes.first)) axes.last = axes.first + 1;
  if (!(axes.high > axes.low)) axes.high = axes.low + 1;
  return axes;
}

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return "<text x=\"" + shown_number(x) + "\" y=\"" + shown_number(y) + "\" text-anchor=\"" + anchor + "\">" + text +
         "</text>\n";
}

}  // namespace

void write_loss_plot(const std::filesystem::path& log, const std::filesystem::path& page) {
  const std::map<std::string, const char*> colors = {{"loss", "#3465a4"}, {"validation", "#cc0000"}};
  std::map<std::string, Curve> curves;
  std::ifstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);  // a kill may have cut the last line
    if (!entry.is_object() || !entry.contains("step")) continue;
    for (const auto& [name, color] : colors)
      if (entry.contains(name) && entry.at(name).is_number())
        curves[name][entry.at("step").get<int64_t>()] = entry.at(name).get<double>();
  }
  const Axes axes = axes_of(curves);
  std::string svg =
      "<!doctype html><meta charset=\"utf-8\"><title>Training loss</title>\n<svg viewBox=\"0 0 900 420\" "
      "font-family=\"sans-serif\" font-size=\"13\" role=\"img\" aria-label=\"Loss over steps\">\n";
  for (int line = 0; line <= 4; ++line) {
    const double loss = axes.low + (axes.high - axes.low) * line / 4,
                 step = axes.first + (axes.last - axes.first) * line / 4;
    const std::string y = shown_number(axes.y(loss));
    svg += "<line x1=\"60\" x2=\"840\" y1=\"" + y + "\" y2=\"" + y + "\" stroke=\"#ddd\"/>\n";
    svg += text_at(kMargin - 8, axes.y(loss) + 4, "end", shown_number(loss));
    svg += text_at(axes.x(step), kPlotHeight - kMargin + 20, "middle", shown_number(step));
  }
  double legend = kMargin;
  for (const auto& [name, curve] : curves) {
    std::string points;
    for (const auto& [step, loss] : curve)
      points += shown_number(axes.x(static_cast<double>(step))) + "," + shown_number(axes.y(loss)) + " ";
    const std::string color = colors.at(name);
    svg += "<polyline fill=\"none\" stroke=\"" + color + "\" stroke-width=\"1.5\" points=\"" + points + "\"/>\n";
    svg += "<rect x=\"" + shown_number(legend) + "\" y=\"20\" width=\"12\" height=\"12\" fill=\"" + color + "\"/>\n";
    svg += text_at(legend + 18, 31, "start", name);
    legend += 110;
  }
  write_file_atomically(page, svg + "</svg>\n");
}

}  // namespace tessera
