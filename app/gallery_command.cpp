#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "batch/gallery.h"
#include "core/cancel.h"
#include "core/text.h"

namespace tessera {

void add_gallery_command(CLI::App& root) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = root.add_subcommand("gallery", "Write a web page that shows a batch's outputs");
  command->add_option("DIR", *folder, "Output folder of tessera batch, finished or not")
      ->required()
      ->group("What to show");
  put_help_last(*command, "What to show");
  command->footer(
      "Writes DIR/index.html, a single page that works offline: thumbnails, videos that play on hover, filters,\n"
      "and the command that reproduces each output. tessera batch also writes it when it finishes.\n"
      "\n"
      "Examples\n"
      "  tessera gallery out");
  command->callback([folder] {
    install_signal_handlers();
    const GallerySummary made = write_gallery(*folder);
    if (made.unreadable > 0)
      print_note(counted(made.unreadable, "line of manifest.jsonl cannot be read and is ignored",
                         "lines of manifest.jsonl cannot be read and are ignored"));
    if (made.without_picture > 0)
      print_note(counted(made.without_picture, "output cannot be decoded and is shown without a thumbnail",
                         "outputs cannot be decoded and are shown without a thumbnail"));
    std::cout << made.path.string() << std::endl;
  });
}

}  // namespace tessera
