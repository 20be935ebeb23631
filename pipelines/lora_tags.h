#pragma once

#include <filesystem>

#include "core/job.h"

namespace tessera {

/// Whether a prompt holds <lora:...>.
bool has_lora_tags(const std::string& prompt);

/// Takes every <lora:NAME> and <lora:NAME:STRENGTH> out of the job's prompt, as AUTOMATIC1111's program does, and adds
/// the files they name to the job's LoRAs. NAME is a file of `folder` without its extension, or of a folder below it.
/// Throws Error when there is no such file or there are several, when a tag has several strengths, or is malformed.
void take_lora_tags(Job& job, const std::filesystem::path& folder);

}  // namespace tessera
