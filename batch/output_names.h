#pragma once

#include <map>
#include <string>
#include <vector>

namespace tessera {

/// The outputs of a batch, all in one folder, of which none may take another's place.
class OutputNames {
 public:
  /// Takes an output's name, relative to the folder: a file, or with `frames` the pattern of many. Throws Error when
  /// another output has it, also in other letters' case or as one of its frames, when one would be a folder of the
  /// other, and when the batch's own record or page would be that folder.
  void claim(const std::string& name, bool frames, const std::string& id);

 private:
  struct Pattern {
    std::string before, after;  ///< of the number, in lower case
    size_t digits;
    std::string id;
  };
  void refuse_folder_of_another(const std::string& name, const std::string& key) const;
  void refuse_frame_of_another(const std::string& name, const std::string& key) const;

  std::map<std::string, std::string> files_;              // in lower case -> id
  std::map<std::string, std::string> folders_;            // in lower case -> the first output in it
  std::map<std::string, std::vector<Pattern>> patterns_;  // by the folder in lower case
};

}  // namespace tessera
