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

/// Adds --lora-dir, whose value goes to `folder` (see take_lora_tags in pipelines/lora_tags.h).
void add_lora_dir_option(CLI::App& command, std::string& folder);

/// Prints a message for people to stderr, in one piece: processes may share a terminal. What a terminal would obey, in
/// names and texts from files, is escaped (core/printable.h).
void print_note(const std::string& text);

/// JSON for stdout; bytes of file names that are not UTF-8 become U+FFFD.
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

/// Throws Error when --json is given and could not name `output`.
void check_json_output(const Job& job, const std::string& output);

/// print_note, or with --quiet a listener that drops notes: then stderr has errors alone.
std::function<void(const std::string&)> note_listener(bool quiet);

/// Parses the program's arguments and runs the chosen command. Prints what --help and --version ask for.
/// Throws Error for wrong usage, with the nearest option or command, and whatever the command throws.
void run_command_line(CLI::App& root, int argc, const char* const* argv);

}  // namespace tessera
