#pragma once

#include <string>

#include "metrics/made_by.h"
#include "metrics/score_request.h"

namespace tessera {

/// Adds to what a kept file says of itself how the videos of its set were read: `matrix` as ScoreRequest has it,
/// `videos` in the words of VideoTally. Adds nothing when `videos` is "".
void record_colors(const std::string& matrix, const std::string& videos, MadeBy& made_by);

/// The words that record_colors has kept in the file at `path`, which holds `input`; "" when there are none. Notes when
/// it was made with another matrix than `matrix`.
std::string recorded_colors(const std::string& matrix, const std::string& path, const ArrayInput& input,
                            const ScoreListener& listener);

}  // namespace tessera
