#pragma once

#include <string_view>

#include "batch/entry_list.h"

namespace tessera {

/// Lines of text: a prompt each, perhaps with settings behind it; or prompts with the lines "Negative prompt: ..." and
/// "Steps: ..." that AUTOMATIC1111 writes.
void read_text_prompts(std::string_view text, EntryList& list);

/// A file that is one prompt, perhaps with those lines.
void read_whole_prompt(const std::string& text, int64_t line, const std::string& id, EntryList& list);

}  // namespace tessera
