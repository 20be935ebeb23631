#include "app/help.h"

#include "core/text.h"

namespace tessera {
namespace {

constexpr size_t kWidth = 100, kColumn = 32;

std::string entry(const std::string& left, const std::string& text) {
  std::string line = "  " + left;
  if (text.empty()) return line + "\n";
  if (line.size() + 2 > kColumn) {
    line += "\n" + std::string(kColumn, ' ');
  } else {
    line.resize(kColumn, ' ');
  }
  return line + wrap_text(text, kWidth - kColumn, kColumn) + "\n";
}

/// "N" of "N:INT in [1 - 8]": without what CLI11 appends for a check; descriptions give the range.
std::string placeholder(const CLI::Option& option) {
  std::string name = option.get_type_name();
  for (const char* check : {":INT in ", ":UINT in ", ":FLOAT in ", ":NONNEGATIVE", ":POSITIVE", ":{"})
    name = name.substr(0, name.find(check));
  return name;
}

std::string option_entry(const CLI::Option& option) {
  std::string left;
  if (option.get_positional()) {
    left = option.get_name(true);
  } else {
    left = option.get_snames().empty() ? "    " : "-" + option.get_snames().front() + ", ";
    if (!option.get_lnames().empty()) left += "--" + option.get_lnames().front();
    if (option.get_items_expected_max() > 0) left += " " + placeholder(option);
  }
  std::string text = option.get_description();
  if (!option.get_default_str().empty()) text += " [" + option.get_default_str() + "]";
  return entry(left, text);
}

std::string usage(const CLI::App& command, const std::string& name) {
  std::string line = "Usage: " + name + " [OPTIONS]";
  for (const CLI::Option* option : command.get_options())
    if (option->get_positional())
      line += option->get_required() ? " " + option->get_name(true) : " [" + option->get_name(true) + "]";
  if (!command.get_subcommands([](const CLI::App*) { return true; }).empty()) line += " COMMAND";
  return line + "\n";
}

std::string groups(const CLI::App& command) {
  std::string out;
  for (const std::string& group : command.get_groups()) {
    std::string entries;
    for (const CLI::Option* option :
         command.get_options([&](const CLI::Option* candidate) { return candidate->get_group() == group; }))
      entries += option_entry(*option);
    if (!group.empty() && !entries.empty()) out += "\n" + group + "\n" + entries;
  }
  return out;
}

}  // namespace

void put_help_last(CLI::App& command, const std::string& group) {
  command.set_help_flag();
  command.set_help_flag("-h,--help", "Print this help")->group(group);
}

std::string HelpFormatter::make_help(const CLI::App* command, std::string name, CLI::AppFormatMode) const {
  std::string out = command->get_description() + "\n\n" + usage(*command, name);
  std::string commands;
  for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; }))
    commands += entry(sub->get_name(), sub->get_description());
  if (!commands.empty()) out += "\nCommands\n" + commands;
  out += groups(*command);
  if (!command->get_footer().empty()) out += "\n" + command->get_footer() + "\n";
  return out;
}

}  // namespace tessera
