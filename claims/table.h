#pragma once

#include <string>
#include <vector>

#include "claims/run.h"

namespace tessera {

/// Mean and sample standard deviation (divided by count - 1; 0 for a single value).
struct Spread {
  double mean = 0, deviation = 0;
  int64_t count = 0;
};

/// Throws c10::Error for no values.
Spread spread_of(const std::vector<double>& values);

enum class Verdict { kHolds, kContradicted, kUndecided };

/// Whether `better` is better than `than`: their means differ by more than twice the standard error of the difference,
/// sqrt(s1^2 / n1 + s2^2 / n2). Undecided also when either has fewer than two values or
/// one that is not finite.
Verdict compare(const Spread& better, const Spread& than, Direction direction);

/// All finished runs and what they come to: {"tasks": [{"name", "trainer", "measures", "rows": [{"name", "attention",
/// "parameters", "tokens", "head_width", "flops", "step_ms" (the least), "<measure>": {"mean", "deviation", "count"},
/// ...}], "comparisons": [{"source", "better", "than", "measure", "verdict"}]}], "runs": [...], "missing": number}.
/// Rows without a finished run are left out.
nlohmann::ordered_json summarize(const ClaimSettings& settings);

/// The Markdown page of a summary beside the papers' figures, {"tables": [{"title", "columns", "rows"}]}. Every number
/// in it comes from the two. Throws what nlohmann::json throws when a key is absent.
std::string claims_page(const nlohmann::ordered_json& summary, const nlohmann::json& published,
                        const std::string& command);

}  // namespace tessera
