#include "core/out_of_memory.h"

#include <sys/resource.h>

#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <new>

namespace tessera {
namespace {

std::string decimal_size(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"bytes", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, kUnits[unit]);
  return text;
}

/// The size after "tried to allocate" in LibTorch's words, "6710886400000 bytes" or "2.00 GiB"; "" when there is none.
std::string size_asked_for(const std::string& text) {
  const std::string words = "ried to allocate ";
  const size_t found = text.find(words);
  if (found == std::string::npos) return "";
  const size_t begin = found + words.size();
  size_t end = begin;
  while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
  const std::string number = text.substr(begin, end - begin);
  if (number.empty()) return "";
  if (text.compare(end, 6, " bytes") == 0) return decimal_size(std::stod(number));
  const size_t unit_end = text.find_first_not_of("KMGTiB", end + 1);
  return number + text.substr(end, (unit_end == std::string::npos ? text.size() : unit_end) - end);
}

bool is_out_of_memory(const std::exception& failure, const std::string& text) {
  if (dynamic_cast<const std::bad_alloc*>(&failure)) return true;
  for (const char* words : {"out of memory", "can't allocate memory", "not enough memory"})
    if (text.find(words) != std::string::npos) return true;
  return false;
}

}  // namespace

std::optional<std::string> out_of_memory_text(const std::exception& failure, const std::string& advice) {
  const std::string text = failure.what();
  if (!is_out_of_memory(failure, text)) return {};
  const std::string asked = size_asked_for(text);
  if (!asked.empty()) return "out of memory: " + asked + " more was needed; " + advice;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return "out of memory: the program already held " + decimal_size(1024.0 * static_cast<double>(usage.ru_maxrss)) +
         "; " + advice;
}

}  // namespace tessera
