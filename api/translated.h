#pragma once

#include <c10/util/Exception.h>
#include <tessera/tessera.h>

#include <filesystem>
#include <new>

#include "core/error.h"
#include "core/out_of_memory.h"

namespace tessera::api {

inline Error::Cause cause_of(ExitCode code) {
  if (code == ExitCode::kUsage) return Error::Cause::kBadInput;
  if (code == ExitCode::kBadPixels) return Error::Cause::kBadPixels;
  return static_cast<int>(code) > 128 ? Error::Cause::kCanceled : Error::Cause::kFailed;
}

/// What `work` returns; the exceptions of the folders below leave as Error.
template <class Work>
auto translated(const Work& work) {
  try {
    return work();
  } catch (const tessera::Error& error) {
    throw Error(error.what(), cause_of(error.code()));
  } catch (const c10::Error& error) {
    const auto memory = out_of_memory_text(error, kSmallerRender);
    throw Error(memory ? *memory : error.what_without_backtrace(), Error::Cause::kFailed);
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(error.what(), Error::Cause::kFailed);
  } catch (const std::bad_alloc& error) {
    throw Error(out_of_memory_text(error, kSmallerRender).value(), Error::Cause::kFailed);
  }
}

}  // namespace tessera::api
