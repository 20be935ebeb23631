#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// "-s,--base-seed,--base_seed": the names of one option for CLI11, '-' and '_' alike. The first long name is
/// canonical.
std::string option_names(const std::string& short_name, const std::vector<std::string>& long_names);

/// Adds every option of the table in core/job.h whose name is not in `without`; parsing fills `job`, which must live
/// until then.
void add_job_options(CLI::App& command, Job& job, const std::set<std::string>& without = {});

/// Parses the program's arguments and runs the chosen command. Prints what --help and --version ask for.
/// Throws Error for wrong use, with the nearest option or command, and whatever the command throws.
void run_command_line(CLI::App& root, int argc, const char* const* argv);

}  // namespace tessera
