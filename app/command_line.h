#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// "-s,--base-seed,--base_seed": the names of one option for CLI11, with '-' and with '_'. The first long name is
/// canonical.
std::string option_names(const std::string& short_name, const std::vector<std::string>& long_names);

/// Adds every option of the table in core/job.h whose name is not in `without`; parsing fills `job`, which must outlive
/// it.
void add_job_options(CLI::App& command, Job& job, const std::set<std::string>& without = {});

/// Prints a line for people to stderr, in one piece: processes may share a terminal.
void print_note(const std::string& text);

/// print_note, or with --quiet a listener that drops notes: then stderr has errors alone.
std::function<void(const std::string&)> note_listener(bool quiet);

/// Parses the program's arguments and runs the chosen command. Prints what --help and --version ask for.
/// Throws Error for wrong usage, with the nearest option or command, and whatever the command throws.
void run_command_line(CLI::App& root, int argc, const char* const* argv);

}  // namespace tessera
