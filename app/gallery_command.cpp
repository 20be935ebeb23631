#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "batch/gallery.h"
#include "core/cancel.h"

namespace tessera {

void add_gallery_command(CLI::App& root) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = root.add_subcommand("gallery", "Make a web page of a batch's outputs");
  command->add_option("DIR", *folder, "Output folder of tessera batch, finished or not")
      ->required()
      ->group("What to show");
  put_help_last(*command, "What to show");
  command->footer(
      "Writes DIR/index.html: one page that needs no network, with thumbnails, videos that play on hover,\n"
      "filters, and the command that reproduces each output. tessera batch writes it too when it ends.\n"
      "\n"
      "Examples\n"
      "  tessera gallery out");
  command->callback([folder] {
    install_signal_handlers();
    const GallerySummary made = write_gallery(*folder);
    if (made.unreadable > 0)
      print_note(std::to_string(made.unreadable) + " lines of manifest.jsonl cannot be read and are ignored");
    if (made.without_picture > 0)
      print_note(std::to_string(made.without_picture) + " outputs cannot be decoded; shown without a picture");
    std::cout << made.path.string() << std::endl;
  });
}

}  // namespace tessera
