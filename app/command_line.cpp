#include "app/command_line.h"

#include <algorithm>
#include <cctype>
#include <iostream>

#include "app/commands.h"
#include "app/help.h"
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
    const CLI::App* parsed = &command;
    added = command.add_option_function<std::string>(
        names,
        [&job, &option, parsed](const std::string&) {
          set_job_option(job, option, value_of_all(option, parsed->get_option("--" + option.name)->results()));
        },
        option.help);
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

std::vector<const CLI::App*> subcommands(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> command_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* sub : subcommands(command)) names.push_back(sub->get_name());
  return names;
}

const CLI::App* find_subcommand(const CLI::App& command, const std::string& name) {
  for (const CLI::App* sub : subcommands(command))
    if (sub->get_name() == name) return sub;
  return nullptr;
}

/// The command that the arguments name, before they are parsed.
const CLI::App& named_command(const CLI::App& root, const std::vector<std::string>& arguments) {
  const CLI::App* command = &root;
  for (const std::string& argument : arguments) {
    const CLI::App* sub = find_subcommand(*command, argument);
    if (!sub) break;
    command = sub;
  }
  return *command;
}

/// A word such as "-steps" or "-stpes", which is read as -s with the value "teps": a long option with one dash too few.
struct SingleDash {
  std::string word, value;  ///< as given, and what the short option makes of it
  std::string option;       ///< the long option nearest to it, "" when there is none
  bool exact = false;
};

std::vector<SingleDash> single_dashes(const CLI::App& command, const std::vector<std::string>& arguments) {
  const std::vector<std::string> options = option_spellings(command);
  std::vector<SingleDash> found;
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    const std::string word = argument.substr(0, argument.find('='));
    if (word.size() < 3 || word[0] != '-' || !std::isalpha(static_cast<unsigned char>(word[1]))) continue;
    std::string name = "-" + word;
    std::replace(name.begin(), name.end(), '_', '-');
    if (name == "--help" || name == "--version") continue;
    const std::string near = nearest_match(name, options);
    found.push_back({word, argument.substr(2), near, near == name});
  }
  return found;
}

/// Refuses what would otherwise be taken for a short option with its value.
void refuse_single_dashes(const std::vector<SingleDash>& words) {
  for (const SingleDash& word : words)
    if (word.exact) throw Error("unknown option " + word.word + " (did you mean " + word.option + "?)");
}

/// The same when the short option has just refused its value.
void refuse_single_dashes(const std::vector<SingleDash>& words, const std::string& refusal) {
  for (const SingleDash& word : words)
    if (!word.option.empty() && refusal.ends_with("got \"" + word.value + "\""))
      throw Error("unknown option " + word.word + " (did you mean " + word.option + "?)");
}

/// "tessera train prepare".
std::string path_of(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return (parent ? path_of(*parent) + " " : "") + command.get_name();
}

[[noreturn]] void refuse_extra(const CLI::App& root) {
  const CLI::App& command = chosen_command(root);
  const std::vector<std::string> extras = root.remaining(true);
  const auto flag = std::find_if(extras.begin(), extras.end(),
                                 [](const std::string& text) { return text.size() > 1 && text[0] == '-'; });
  const std::string help = "; see " + path_of(command) + " --help";
  if (flag != extras.end()) {
    std::string name = flag->substr(0, flag->find('='));
    std::replace(name.begin(), name.end(), '_', '-');
    const std::string near = nearest_match(name, option_spellings(command));
    throw Error("unknown option " + flag->substr(0, flag->find('=')) +
                (near.empty() ? help : " (did you mean " + near + "?)"));
  }
  if (&command == &root)
    throw Error("unknown command \"" + extras.front() + "\"" + suggestion(extras.front(), command_names(root)));
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

void add_lora_dir_option(CLI::App& command, std::string& folder) {
  command
      .add_option(option_names("", {"lora-dir"}), folder,
                  "Folder of LoRAs: <lora:style:0.8> in a prompt loads style.safetensors of it (docs/lora.md)")
      ->type_name("DIR")
      ->group(find_job_option("lora").group);
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

std::function<void(const std::string&)> note_listener(bool quiet) {
  if (quiet) return [](const std::string&) {};
  return print_note;
}

void add_help_command(CLI::App& root) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* help = root.add_subcommand("help", "Show the help of a command");
  help->add_option("COMMAND", *names, "For example: tessera help generate")->group("What to show");
  put_help_last(*help, "What to show");
  help->callback([&root, names] {
    const CLI::App* command = &root;
    std::string full_name = root.get_name();
    for (const std::string& name : *names) {
      const CLI::App* sub = find_subcommand(*command, name);
      if (!sub) throw Error("unknown command \"" + name + "\"" + suggestion(name, command_names(*command)));
      command = sub;
      full_name += " " + name;
    }
    std::cout << root.get_formatter()->make_help(command, full_name, CLI::AppFormatMode::Normal);
  });
}

void run_command_line(CLI::App& root, int argc, const char* const* argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::vector<SingleDash> single = single_dashes(named_command(root, arguments), arguments);
  refuse_single_dashes(single);
  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << root.help();
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << "\n";
  } catch (const Error& error) {
    refuse_single_dashes(single, error.what());
    throw;
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
