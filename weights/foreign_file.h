#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "weights/safetensors.h"

namespace tessera {

/// Files that are no weights, or none that run here, named for what they are: the one place for every reader.

/// Throws Error for an unfinished download: the name ends as a download program's does (.part, .crdownload, ...), or a
/// file of that name and such an end (.aria2, ...) lies beside it, or beside what it links to.
void refuse_unfinished(const std::filesystem::path& path);

/// What a file that is not of the wanted format is and what to do, e.g. "it is a Git LFS pointer, ...: run git lfs
/// pull ..."; "" when nothing is known of such a beginning.
std::string foreign_bytes(std::span<const uint8_t> bytes);

/// Throws Error for a file that cannot be `wanted`, e.g. "the FID Inception network", whichever format of weights that
/// has: an unfinished download, foreign_bytes, a zip archive that is cut off.
void refuse_foreign(const std::filesystem::path& path, const std::string& wanted);

/// What tensors of these names are that no network here has, and what to do: a LoRA, quantized weights, a kind
/// of Wan model that does not run; "" for others.
std::string foreign_tensors(const TensorFile& file);

/// Which kind of Wan model, of those that do not run (VACE, Animate, S2V), a transformer is of, and what to do; "" for
/// others.
std::string other_wan_model(const TensorFile& file);

/// Whether every number of the file is zero: space that a download reserved and never filled. Looks at a few numbers of
/// each tensor first, so a file of real weights costs next to nothing.
bool holds_only_zeros(const TensorFile& file);

/// What a folder without weights holds in their place, a sentence: unfinished downloads, links to files that are not
/// there; "" for nothing of the kind.
std::string foreign_holdings(const std::filesystem::path& folder);

}  // namespace tessera
