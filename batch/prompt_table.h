#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "batch/entry_list.h"

namespace tessera {

/// What separates the columns of a text: a comma, a tab or a semicolon; none when it is no table. A .csv or .tsv file
/// is one by its name, any other text when its first line names columns, one of them the prompt's.
std::optional<char> table_separator(std::string_view text, const std::string& extension, const std::string& prompt_key);

/// Reads a table whose first row names the columns: CSV (RFC 4180), or with tabs TSV. A field in double quotes may hold
/// separators, line feeds and doubled quotes.
void read_table(std::string_view text, char separator, EntryList& list);

}  // namespace tessera
