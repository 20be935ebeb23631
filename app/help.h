#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

namespace tessera {

/// The text of `--help` for one command: description, usage, options by group with their defaults, subcommands, and
/// footer (examples). Aliases are hidden: an option shows only its first long name.
class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* command, std::string name, CLI::AppFormatMode mode) const override;
};

/// Puts -h/--help at the end of the options that `command` has so far, under the heading `group`.
void put_help_last(CLI::App& command, const std::string& group);

}  // namespace tessera
