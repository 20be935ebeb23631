#pragma once

#include <vector>

#include "batch/entry_list.h"
#include "core/located_json.h"

namespace tessera {

/// A whole file of JSON or YAML, in one of the forms of docs/batch.md.
void read_json_prompts(const LocatedJson& root, EntryList& list);

/// The values of a list or of JSON lines: prompts, or objects with a prompt.
void read_json_rows(const std::vector<LocatedJson>& rows, EntryList& list);

}  // namespace tessera
