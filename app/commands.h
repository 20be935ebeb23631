#pragma once

namespace CLI {
class App;
}

namespace tessera {

/// Each registers one command, whose callback does the work and throws Error on failure.
void add_generate_command(CLI::App& root);
void add_info_command(CLI::App& root);
void add_convert_command(CLI::App& root);
void add_batch_command(CLI::App& root);
void add_fid_command(CLI::App& root);
void add_fvd_command(CLI::App& root);
void add_gallery_command(CLI::App& root);
void add_analyze_command(CLI::App& root);
void add_classify_command(CLI::App& root);
void add_decode_command(CLI::App& root);
void add_samplers_command(CLI::App& root);
void add_help_command(CLI::App& root);

}  // namespace tessera
