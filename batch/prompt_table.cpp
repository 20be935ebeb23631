#include "batch/prompt_table.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "batch/prompt_keys.h"
#include "core/text.h"
#include "core/utf8.h"

namespace tessera {
namespace {

using Cells = std::vector<std::string>;

/// Takes row after row from a text.
class Rows {
 public:
  Rows(std::string_view text, char separator, Mistakes& mistakes)
      : text_(text), separator_(separator), mistakes_(mistakes) {}

  /// The next row that is not blank, and the line where it begins; none at the end.
  std::optional<std::pair<int64_t, Cells>> next() {
    while (at_ < text_.size()) {
      const int64_t line = line_;
      Cells cells = row();
      if (cells.size() > 1 || !trimmed(cells.front()).empty()) return std::pair{line, std::move(cells)};
    }
    return {};
  }

 private:
  Cells row() {
    Cells cells;
    do cells.push_back(cell());
    while (take(separator_));
    take('\n');
    return cells;
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    if (c == '\n') ++line_;
    return true;
  }

  bool ends_cell(size_t at) const { return at >= text_.size() || text_[at] == separator_ || text_[at] == '\n'; }

  std::string cell() {
    const size_t start = std::min(text_.find_first_not_of(separator_ == '\t' ? "" : " ", at_), text_.size());
    if (start < text_.size() && text_[start] == '"')
      if (auto quoted = quoted_cell(start)) return *quoted;
    const size_t from = at_;
    while (!ends_cell(at_)) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

  /// A field in quotes that begins at `start`. Where it does not end as one, a table with tabs has a field that happens
  /// to begin with a quote.
  std::optional<std::string> quoted_cell(size_t start) {
    std::string out;
    for (size_t at = start + 1; at < text_.size(); ++at) {
      if (text_[at] != '"') {
        out += text_[at];
      } else if (at + 1 < text_.size() && text_[at + 1] == '"') {
        out += text_[at++];
      } else if (ends_cell(at + 1)) {
        line_ += std::count(out.begin(), out.end(), '\n');
        at_ = at + 1;
        return out;
      } else {
        return refused("text follows the quote that ends a field; write \"\" for a quote inside one");
      }
    }
    return refused("a field in quotes is not closed; add the missing \"");
  }

  std::optional<std::string> refused(const std::string& problem) {
    if (separator_ != '\t') mistakes_.add(line_, problem);
    return {};
  }

  std::string_view text_;
  char separator_;
  Mistakes& mistakes_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

/// The names of the columns; one without a name is called after its place.
Cells column_names(Cells header) {
  for (size_t i = 0; i < header.size(); ++i) {
    header[i] = trimmed(header[i]);
    if (header[i].empty()) header[i] = "column " + std::to_string(i + 1);
  }
  return header;
}

bool is_column_name(const std::string& name) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == ' ' || c == '.'; };
  return !name.empty() && name.size() <= 40 && (std::isalpha(static_cast<unsigned char>(name[0])) || name[0] == '_') &&
         std::all_of(name.begin(), name.end(), is_plain) && std::count(name.begin(), name.end(), ' ') <= 1;
}

/// Whether a text whose name does not say so is a table with this separator.
bool is_table(std::string_view text, char separator, const std::string& prompt_key) {
  Mistakes ignored;
  Rows rows(text, separator, ignored);
  const auto header = rows.next(), first = rows.next();
  if (!header || !first) return false;
  const Cells names = column_names(header->second);
  return names.size() >= 2 && first->second.size() >= 2 && first->second.size() <= names.size() &&
         std::all_of(names.begin(), names.end(), is_column_name) &&
         std::set<std::string>(names.begin(), names.end()).size() == names.size() &&
         find_prompt_key(names, prompt_key).has_value();
}

LocatedJson text_value(const std::string& text, int64_t line) {
  LocatedJson value;
  value.line = line;
  value.scalar = text;
  return value;
}

bool check_columns(const Cells& names, int64_t line, const Cells& first, EntryList& list) {
  const size_t before = list.mistakes().size();
  std::set<std::string> seen;
  for (const std::string& name : names)
    if (!seen.insert(name).second)
      list.mistakes().add(line, "two columns are called \"" + shortened(name, 60) + "\"; rename one");
  const bool has_class = std::find(names.begin(), names.end(), "class") != names.end() && list.prompt_key().empty();
  if (!find_prompt_key(names, list.prompt_key()) && !has_class)
    list.mistakes().add(
        line, "the first line names the columns, and " + no_prompt_key(names, first, list.prompt_key(), "column"));
  return list.mistakes().size() == before;
}

}  // namespace

std::optional<char> table_separator(std::string_view text, const std::string& extension,
                                    const std::string& prompt_key) {
  const bool csv = extension == ".csv", tsv = extension == ".tsv" || extension == ".tab";
  for (const char separator : {tsv ? '\t' : ',', tsv ? ',' : '\t', ';'}) {
    if (!csv && !tsv) {
      if (is_table(text, separator, prompt_key)) return separator;
      continue;
    }
    Mistakes ignored;
    const auto header = Rows(text, separator, ignored).next();
    if (header && find_prompt_key(column_names(header->second), prompt_key)) return separator;
  }
  if (csv) return ',';
  return tsv ? std::optional('\t') : std::nullopt;
}

void read_table(std::string_view text, char separator, EntryList& list) {
  Rows rows(text, separator, list.mistakes());
  const auto header = rows.next();
  if (!header) return;
  const Cells names = column_names(header->second);
  auto row = rows.next();
  if (!check_columns(names, header->first, row ? row->second : Cells(), list)) return;
  for (; row && !list.full(); row = rows.next()) {
    const auto& [line, cells] = *row;
    const size_t before = list.mistakes().size();
    if (cells.size() > names.size())
      list.mistakes().add(line, std::to_string(cells.size()) + " fields, but the first line names " +
                                    std::to_string(names.size()) +
                                    "; put a field that holds the separator in double quotes");
    LocatedJson object;
    object.line = line;
    object.kind = LocatedJson::Kind::kObject;
    for (size_t i = 0; i < std::min(cells.size(), names.size()); ++i) {
      object.keys.push_back(names[i]);
      object.values.push_back(text_value(cells[i], line));
    }
    PromptEntry entry;
    entry.line = line;
    list.reader().set_row(entry, object, {.prompt_key = list.prompt_key(), .is_table = true});
    list.add(std::move(entry), before);
  }
}

}  // namespace tessera
