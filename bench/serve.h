#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace tessera {

/// What a process computes on request, for a script that gives several processes their turns.
struct Service {
  std::function<at::Tensor(const std::string& name)> run;  ///< what "run NAME" computes; "" where a line names nothing
  at::Device device = at::kCPU;                            ///< its queued work is waited for
  double least_seconds = 0;  ///< a run is repeated until so many have passed; the answers are means
};

/// Answers lines of stdin, one JSON object each on stdout, until "quit" or their end. First it says {"ready"}.
/// "run [NAME]": {"seconds", "cpu_seconds"}, the latter of all threads; on a GPU also {"launch_seconds",
/// "activation_bytes"}: until the call returned, and the most memory that it took besides what was held before. "save
/// FILE" writes the last result, {"saved"}; "quit": {"peak_bytes"}, of the process. {"error"} is a line that failed.
void serve(const Service& service);

/// One line of stdout.
void answer(const nlohmann::json& object);

/// Calls `work` as a program's main function would: what it throws is printed on stderr after `name`, and the result
/// is 1.
int run_program(const char* name, const std::function<void()>& work);

}  // namespace tessera
