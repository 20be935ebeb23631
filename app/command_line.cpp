#include "app/command_line.h"

#include <algorithm>
#include <iostream>

#include "core/error.h"
#include "core/printable.h"
#include "core/utf8.h"

namespace tessera {
namespace {

void set_from(Job& job, const JobOption& option, CLI::App& command) {
  std::vector<std::string> long_names = {option.name};
  long_names.insert(long_names.end(), option.aliases.begin(), option.aliases.end());
  const std::string names = option_names(option.short_name, long_names);
  CLI::Option* added = nullptr;
  if (std::holds_alternative<bool Job::*>(option.field)) {
    added = command.add_flag_callback(
        names, [&job, &option] { set_job_option(job, option, "true"); }, option.help);
  } else {
    added = command.add_option_function<std::string>(
        names, [&job, &option](const std::string& value) { set_job_option(job, option, value); }, option.help);
    added->type_name(option.value)->default_str(default_text(option));
  }
  added->group(option.group)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

const CLI::App& chosen_command(const CLI::App& root) {
  const CLI::App* command = &root;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return *command;
}

std::vector<std::string> option_spellings(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames())
      if (name.find('_') == std::string::npos) names.push_back("--" + name);
  return names;
}

[[noreturn]] void refuse_extra(const CLI::App& root) {
  const CLI::App& command = chosen_command(root);
  const std::vector<std::string> extras = root.remaining(true);
  const auto flag = std::find_if(extras.begin(), extras.end(),
                                 [](const std::string& text) { return text.size() > 1 && text[0] == '-'; });
  const std::string help = "; see " + root.get_name() + (&command == &root ? "" : " " + command.get_name()) + " --help";
  if (flag != extras.end()) {
    std::string name = flag->substr(0, flag->find('='));
    std::replace(name.begin(), name.end(), '_', '-');
    const std::string near = nearest_match(name, option_spellings(command));
    throw Error("unknown option " + flag->substr(0, flag->find('=')) +
                (near.empty() ? help : " (did you mean " + near + "?)"));
  }
  if (&command == &root) {
    std::vector<std::string> commands;
    for (const CLI::App* sub : root.get_subcommands([](const CLI::App*) { return true; }))
      commands.push_back(sub->get_name());
    throw Error("unknown command \"" + extras.front() + "\"" + suggestion(extras.front(), commands));
  }
  throw Error("unexpected argument \"" + extras.front() + "\"; put text of several words in quotes");
}

}  // namespace

std::string option_names(const std::string& short_name, const std::vector<std::string>& long_names) {
  std::string names = short_name.empty() ? "" : "-" + short_name;
  for (const std::string& name : long_names) {
    std::string underscored = name;
    std::replace(underscored.begin(), underscored.end(), '-', '_');
    names += (names.empty() ? "--" : ",--") + name;
    if (underscored != name) names += ",--" + underscored;
  }
  return names;
}

void add_job_options(CLI::App& command, Job& job, const std::set<std::string>& without) {
  for (const JobOption& option : job_options())
    if (!without.count(option.name)) set_from(job, option, command);
}

void print_note(const std::string& text) {
  std::cerr << "tessera: " + printable_text(text) + "\n" << std::flush;
}

std::string json_text(const nlohmann::ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

void check_json_output(const Job& job, const std::string& output) {
  if (job.json && !is_utf8_text(output))
    throw Error("--output " + output + " is not UTF-8, so --json could not name it; choose another name");
}

void run_command_line(CLI::App& root, int argc, const char* const* argv) {
  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << root.help();
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << "\n";
  } catch (const CLI::ExtrasError&) {
    refuse_extra(root);
  } catch (const CLI::ArgumentMismatch& mismatch) {
    const std::string what = mismatch.what();
    throw Error(what.find(" missing") == std::string::npos ? what : what.substr(0, what.find(':')) + " needs a value");
  } catch (const CLI::ParseError& error) {
    throw Error(error.what());
  }
}

}  // namespace tessera
