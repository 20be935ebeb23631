#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace tessera::test {

/// The message of the Error that `action` throws, which must be about usage or bad input; "accepted" when it throws
/// none.
template <class Action>
std::string refusal_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << error.what();
    return error.what();
  }
  return "accepted";
}

/// The same of an `action` that must throw; one line.
template <class Action>
std::string error_of(const Action& action) {
  const std::string message = refusal_of(action);
  EXPECT_NE(message, "accepted") << "no Error was thrown";
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

/// The Error that `action` throws as "exit code: message"; "none" when it throws none.
template <class Action>
std::string coded_error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.code())) + ": " + error.what();
  }
  return "none";
}

}  // namespace tessera::test

/// Evaluates `action`, which must throw Error, and checks that its message holds every text of the list.
#define EXPECT_ERROR(action, ...)                                                                        \
  do {                                                                                                   \
    const std::string message_ = tessera::test::error_of([&] { (void)(action); });                       \
    for (const std::string& part_ : std::vector<std::string>{__VA_ARGS__})                               \
      EXPECT_NE(message_.find(part_), std::string::npos) << "want \"" << part_ << "\" in: " << message_; \
  } while (false)
