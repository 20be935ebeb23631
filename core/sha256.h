#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace tessera {

/// SHA-256 of bytes given in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view bytes);
  /// Appends a whole file. Throws Error (failed) when it cannot be read.
  void update_file(const std::filesystem::path& path);
  /// 64 lower-case hexadecimal digits. Call once, after the last byte.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256(std::string_view bytes);

}  // namespace tessera
