#pragma once

#include <map>
#include <string>

#include "metrics/score_request.h"

namespace tessera {

/// Adds to what a kept file says of itself (see StatisticsFile::made_by) how the videos of its set were read: `matrix`
/// as ScoreRequest has it, `videos` in the words of VideoTally. Adds nothing when `videos` is "".
void record_colors(const std::string& matrix, const std::string& videos, std::map<std::string, std::string>& made_by);

/// The words that record_colors has kept in the file at `path`, "" when there are none. Notes when another matrix was
/// asked for than `matrix`.
std::string recorded_colors(const std::string& matrix, const std::string& path,
                            const std::map<std::string, std::string>& made_by, const ScoreListener& listener);

}  // namespace tessera
