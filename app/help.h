#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

namespace tessera {

/// The text of `--help` for one command: what it does, how it is called, its options by group with the defaults, its
/// commands, and its footer (examples). Hidden aliases are left out: an option shows its first long name alone.
class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* command, std::string name, CLI::AppFormatMode mode) const override;
};

/// Puts -h/--help at the end of the options that `command` has so far, under the heading `group`.
void put_help_last(CLI::App& command, const std::string& group);

/// `text` broken at spaces so that no line is longer than `width`; later lines start with `indent` spaces.
std::string wrap_text(const std::string& text, size_t width, size_t indent);

}  // namespace tessera
