#pragma once

#include <filesystem>

namespace tessera {

/// Draws a run's log (log.jsonl) as curves over its steps: "loss", and "validation" where there is
/// any. Lines that a later process wrote again for the same step replace the earlier ones. An SVG picture in an HTML
/// page without anything from elsewhere, written atomically. A log without such lines gives an empty plot.
void write_loss_plot(const std::filesystem::path& log, const std::filesystem::path& page);

}  // namespace tessera
