#include "training/evaluator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "core/text.h"
#include "training/captions.h"

namespace tessera {
namespace {

constexpr int64_t kSide = 48;         // of a normalized silhouette, pixels
constexpr double kRadius = 10.0;      // its root-mean-square distance from the center, pixels
constexpr int64_t kAngles = 24;       // templates every 15 degrees
constexpr double kMoved = 0.15;       // of the frame's side
constexpr double kAreaChange = 0.47;  // natural logarithm of 1.6
constexpr double kTurned = 0.06;      // gain in overlap by allowing rotation
constexpr double kVisible = 45.0;     // distance from the background in 0..255 RGB
constexpr uint64_t kPlanSeed = 5150;

/// Area, center (x, y) and root-mean-square radius of a coverage [H, W]; pixels.
struct Shape {
  double area = 0, x = 0, y = 0, radius = 0;
};

Shape measure(const at::Tensor& coverage) {
  const at::Tensor rows = at::arange(coverage.size(0), at::kFloat) + 0.5,
                   columns = at::arange(coverage.size(1), at::kFloat) + 0.5;
  const at::Tensor by_row = coverage.sum(1), by_column = coverage.sum(0);
  Shape out;
  out.area = by_row.sum().item<double>();
  if (out.area < 1.0) return out;
  out.x = (by_column * columns).sum().item<double>() / out.area;
  out.y = (by_row * rows).sum().item<double>() / out.area;
  const double spread =
      ((by_column * (columns - out.x).square()).sum() + (by_row * (rows - out.y).square()).sum()).item<double>();
  out.radius = std::sqrt(spread / out.area);
  return out;
}

/// The silhouette of coverage [H, W] moved to the center of a kSide square and scaled to kRadius: [kSide * kSide].
at::Tensor normalized(const at::Tensor& coverage, const Shape& shape) {
  const auto height = static_cast<double>(coverage.size(0)), width = static_cast<double>(coverage.size(1));
  const double scale = shape.radius / kRadius;  // pixels of the frame for one of the square
  const at::Tensor transform = at::tensor({scale * kSide / width, 0.0, 2 * shape.x / width - 1, 0.0,
                                           scale * kSide / height, 2 * shape.y / height - 1},
                                          at::kFloat)
                                   .view({1, 2, 3});
  const at::Tensor grid = at::affine_grid_generator(transform, {1, 1, kSide, kSide}, /*align_corners=*/false);
  return at::grid_sampler_2d(coverage.view({1, 1, coverage.size(0), coverage.size(1)}), grid, 0, 0, false).flatten();
}

/// Index of the palette color nearest to rgb [3] in 0..255, leaving out `except`.
int64_t nearest_color(const at::Tensor& rgb, int64_t except) {
  int64_t best = -1;
  double nearest = 1e9;
  for (int64_t i = 0; i < static_cast<int64_t>(palette().size()); ++i) {
    if (i == except) continue;
    double square = 0;
    for (int64_t c = 0; c < 3; ++c) square += std::pow(rgb[c].item<double>() - palette()[i].rgb[c], 2);
    if (square < nearest) nearest = square, best = i;
  }
  return best;
}

/// Median of every row of [3, N].
at::Tensor median_color(const at::Tensor& pixels) {
  return std::get<0>(pixels.median(1));
}

at::Tensor border_pixels(const at::Tensor& rgb) {
  const int64_t edge = 3;
  return at::cat({rgb.narrow(2, 0, edge).flatten(1), rgb.narrow(2, rgb.size(2) - edge, edge).flatten(1),
                  rgb.narrow(3, 0, edge).flatten(1), rgb.narrow(3, rgb.size(3) - edge, edge).flatten(1)},
                 1);
}

/// Change of the values over their whole range by a straight line fitted to them.
double trend(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double mean = 0, top = 0, bottom = 0;
  for (const double value : values) mean += value / count;
  for (size_t i = 0; i < values.size(); ++i) {
    const double at = static_cast<double>(i) - (count - 1) / 2;
    top += at * (values[i] - mean);
    bottom += at * at;
  }
  return bottom > 0 ? top / bottom * (count - 1) : 0.0;
}

/// Motion by position and size; kStill where neither changes enough.
Motion path_motion(const std::vector<Shape>& shapes, double side) {
  std::vector<double> x, y, area;
  for (const Shape& shape : shapes) {
    x.push_back(shape.x / side);
    y.push_back(shape.y / side);
    area.push_back(std::log(shape.area));
  }
  const double dx = trend(x), dy = trend(y), growth = trend(area);
  if (std::max(std::abs(dx), std::abs(dy)) > kMoved) {
    if (std::abs(dx) > std::abs(dy)) return dx < 0 ? Motion::kLeft : Motion::kRight;
    return dy < 0 ? Motion::kUp : Motion::kDown;
  }
  if (std::abs(growth) > kAreaChange) return growth > 0 ? Motion::kGrow : Motion::kShrink;
  return Motion::kStill;
}

}  // namespace

SceneReader::SceneReader(const SceneRenderer& renderer) {
  std::vector<at::Tensor> rows;
  for (int64_t shape = 0; shape < static_cast<int64_t>(shape_names().size()); ++shape)
    for (int64_t angle = 0; angle < kAngles; ++angle) {
      const Pose pose{0, 0, 0.55, 2 * std::numbers::pi * static_cast<double>(angle) / kAngles};
      const at::Tensor coverage = renderer.mask(shape, pose, 128, 128);
      rows.push_back(normalized(coverage, measure(coverage)));
    }
  templates_ = at::stack(rows).view({-1, kAngles, kSide * kSide});
}

Observation SceneReader::read(const at::Tensor& frames) const {
  TORCH_CHECK(frames.dim() == 4 && frames.size(0) == 3, "SceneReader: want frames [3, T, H, W], got ", frames.sizes());
  Observation seen;
  const at::Tensor rgb = (frames.to(at::kFloat).clamp(-1, 1) + 1) * 127.5;
  const at::Tensor back = median_color(border_pixels(rgb));
  seen.background = nearest_color(back, -1);
  const at::Tensor distance = (rgb - back.view({3, 1, 1, 1})).square().sum(0).sqrt();  // [T, H, W]
  // The silhouette fills a tenth of the frame or more; its edges are mixtures of both colors.
  const double far =
      at::quantile(distance.flatten().slice(0, 0, c10::nullopt, 1 + distance.numel() / 100000), 0.97).item<double>();
  if (far < kVisible) return seen;
  const at::Tensor front =
      median_color(rgb.flatten(1).index_select(1, (distance.flatten() > 0.75 * far).nonzero().flatten()));
  seen.color = nearest_color(front, seen.background);
  const at::Tensor axis = front - back;
  const at::Tensor along = ((rgb - back.view({3, 1, 1, 1})) * axis.view({3, 1, 1, 1})).sum(0) / axis.square().sum();
  const at::Tensor coverage = ((along - 0.25) * 2).clamp(0, 1);  // faint traces of other frames do not count

  std::vector<Shape> shapes;
  at::Tensor upright = at::zeros({templates_.size(0)}), turned = at::zeros({templates_.size(0)});
  for (int64_t t = 0; t < coverage.size(0); ++t) {
    const Shape shape = measure(coverage[t]);
    if (shape.area < 20.0) continue;
    const at::Tensor mask = normalized(coverage[t], shape).view({1, 1, -1});
    const at::Tensor overlap = at::minimum(mask, templates_).sum(-1) / at::maximum(mask, templates_).sum(-1);
    upright += overlap.select(1, 0);
    turned += std::get<0>(overlap.max(1));
    shapes.push_back(shape);
  }
  if (shapes.empty()) return seen;
  seen.motion = path_motion(shapes, static_cast<double>(std::min(frames.size(2), frames.size(3))));
  const auto count = static_cast<double>(shapes.size());
  at::Tensor score = upright / count;
  if (seen.motion == Motion::kStill && shapes.size() > 1) {
    const at::Tensor rotated = turned / count;
    if ((rotated.max() - score.max()).item<double>() > kTurned) {
      seen.motion = Motion::kSpin;
      score = rotated;
    }
  }
  seen.shape = score.argmax().item<int64_t>();
  seen.match = score.max().item<double>();
  return seen;
}

void Score::add(const Scene& wanted, const Observation& seen) {
  const bool back = wanted.background == seen.background, front = wanted.color == seen.color;
  const bool form = wanted.shape == seen.shape, move = !wanted.video || wanted.motion == seen.motion;
  ++total;
  background += back;
  color += front;
  shape += form;
  motion += move;
  all += back && front && form && move;
  const auto count = [](Part& part, bool right) {
    ++part.total;
    part.right += right;
  };
  count(shapes[wanted.shape], form);
  if (wanted.video) count(motions[wanted.motion], move);
}

std::string Score::text() const {
  const auto percent = [this](int64_t count) {
    return 100.0 * static_cast<double>(count) / static_cast<double>(std::max<int64_t>(total, 1));
  };
  char line[200];
  std::snprintf(line, sizeof line,
                "%lld of %lld (%.1f%%) all correct: background %.1f%%, color %.1f%%, shape %.1f%%, motion %.1f%%",
                static_cast<long long>(all), static_cast<long long>(total), percent(all), percent(background),
                percent(color), percent(shape), percent(motion));
  return line;
}

std::string Score::text_by_kind() const {
  const auto line = [](const char* title, const auto& parts, const auto& name_of) {
    return std::string(title) +
           joined(parts, ", ",
                  [&](const auto& part) {
                    const auto& [kind, counts] = part;
                    return std::string(name_of(kind)) + " " + std::to_string(counts.right) + " of " +
                           std::to_string(counts.total);
                  }) +
           "\n";
  };
  std::string text = line("shapes: ", shapes, [](int64_t kind) { return shape_names()[kind]; });
  if (!motions.empty()) text += line("motions: ", motions, [](Motion kind) { return motion_phrase(kind); });
  return text;
}

Score evaluate(const SceneReader& reader, const MakeFrames& make, const EvaluationPlan& plan,
               const std::function<void(const Scene& wanted, const Observation& seen)>& on_scene) {
  Score score;
  for (int64_t begin = 0; begin < plan.count; begin += plan.batch) {
    std::vector<Scene> scenes;
    std::vector<std::string> prompts;
    std::vector<uint64_t> seeds;
    for (int64_t i = begin; i < std::min(begin + plan.batch, plan.count); ++i) {
      scenes.push_back(sample_scene(kPlanSeed, static_cast<uint64_t>(i), plan.video, plan.split));
      prompts.push_back(caption(scenes.back()));
      seeds.push_back(static_cast<uint64_t>(i));
    }
    const std::vector<at::Tensor> results = make(prompts, seeds, plan.video);
    TORCH_CHECK(results.size() == scenes.size(), "evaluate: want ", scenes.size(), " results, got ", results.size());
    for (size_t i = 0; i < scenes.size(); ++i) {
      const Observation seen = reader.read(results[i]);
      score.add(scenes[i], seen);
      if (on_scene) on_scene(scenes[i], seen);
    }
  }
  return score;
}

}  // namespace tessera
