#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/progress.h"
#include "pipelines/attention_analysis.h"
#include "pipelines/renderer.h"

namespace tessera {

/// What `tessera analyze` is asked to do.
struct AnalysisRequest {
  Job job;                       ///< a single output; its `output` is the folder for the report
  std::vector<int64_t> calls;    ///< network calls to look at, from 1; none: five, evenly spread
  std::optional<Extent3> token;  ///< see AnalysisOptions
};

/// Denoises one sample and looks into its self-attention. Writes analysis.json, index.html and a PNG a map into the
/// folder, which is created; returns the files, index.html first. Throws Error: a model or job that generate refuses,
/// several outputs, calls that the sampler does not make, a token outside of the grid, too many tokens, a failed write.
std::vector<std::string> analyze(const AnalysisRequest& request, ProgressStyle progress, const Renderer::Note& note);

/// The page and the numbers of a report. `job` is resolved.
std::string analysis_page(const Job& job, const AttentionAnalysis& analysis);
nlohmann::ordered_json analysis_json(const Job& job, const AttentionAnalysis& analysis);

/// A map [rows, columns] as a picture [3, H, W] in [0, 1], every number a square of pixels: white at 0, blue towards
/// the largest magnitude above 0, red below.
at::Tensor map_picture(const at::Tensor& values);

}  // namespace tessera
