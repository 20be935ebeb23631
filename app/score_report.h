#pragma once

#include "metrics/image_scores.h"
#include "metrics/live_fid.h"
#include "metrics/score_request.h"
#include "metrics/video_scores.h"

namespace tessera {

/// Notes and progress go to stderr, unless `quiet`.
ScoreListener stderr_listener(bool quiet);

/// Prints scores to stdout with everything that another person needs to repeat or to judge them: as one JSON object, or
/// for people, one score a line.
void print_scores(const ImageScores& scores, bool json);
void print_scores(const VideoScores& scores, bool json);

/// Prints the names of the files that a run without a comparison has kept, a line each, to stdout.
void print_kept_files(const ScoreRequest& request);

/// Prints the score of what was rendered with its protocol: to stderr in words, or as one JSON object {"fid": ...} to
/// stdout. A warning about few images comes before it unless `quiet`.
void print_score(const LiveFidScore& score, bool json, bool quiet);

}  // namespace tessera
