#pragma once

#include <string>
#include <vector>

namespace tessera {

/// What in a prompt other programs obey and tessera reads as words: a line for each kind, the same for every prompt.
std::vector<std::string> literal_syntax_notes(const std::string& prompt);

}  // namespace tessera
