#pragma once

#include "batch/prompt_formats.h"
#include "batch/prompt_settings.h"

namespace tessera {

/// What every form of prompt file is turned into.
class EntryList {
 public:
  EntryList(std::string prompt_key, Mistakes& mistakes, bool lora_tags = false)
      : prompt_key_(std::move(prompt_key)), mistakes_(mistakes), reader_(source_, mistakes), lora_tags_(lora_tags) {}

  const std::string& prompt_key() const { return prompt_key_; }
  Mistakes& mistakes() { return mistakes_; }
  SettingReader& reader() { return reader_; }
  /// <lora:...> in prompts will be loaded.
  bool lora_tags() const { return lora_tags_; }
  PromptSource& source() { return source_; }
  /// Nothing more is taken.
  bool full() const { return full_ || mistakes_.full(); }
  /// Takes an entry, which is faulty when a mistake was found since there were `before` of them.
  void add(PromptEntry entry, size_t before);
  /// The entries, with a note about what went into their metadata.
  PromptSource take();

 private:
  std::string prompt_key_;
  Mistakes& mistakes_;
  PromptSource source_;
  SettingReader reader_;
  bool lora_tags_;
  bool full_ = false;
};

}  // namespace tessera
