#include "batch/refusals.h"

#include "core/error.h"

namespace tessera {
namespace {

using Check = std::function<void(const Job&)>;

std::string refusal_of(const Job& job, const Check& check) {
  try {
    check(job);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

/// The job with one option as if it had never been set; a size is one option. An empty prompt gets words.
Job without(const JobOption& option, const Job& job) {
  Job out = job;
  if (option.name == "width" || option.name == "height") {
    out.width.reset();
    out.height.reset();
  } else if (option.name == "prompt") {
    out.prompt = "words";
  } else {
    std::visit(
        [&](auto field) {
          if constexpr (!std::is_same_v<decltype(field), SizeField>) out.*field = Job{}.*field;
        },
        option.field);
  }
  return out;
}

/// Leaves out the option without which `refusal` is not heard; false when there is none, or when the job then lacks
/// that very option (a picture that cannot be read, of a model that needs one).
bool leave_out_cause(Job& job, const std::string& refusal, const Check& check) {
  for (const JobOption& option : job_options()) {
    if (option.name == "seed" || option.name == "model" || option.name == "device") continue;
    Job rest = without(option, job);
    const std::string next = refusal_of(rest, check);
    if (next == refusal) continue;
    if (next.find("--" + option.name + " FILE") != std::string::npos) return false;
    job = std::move(rest);
    return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> all_refusals(Job job, const Check& check) {
  std::vector<std::string> found;
  for (std::string refusal = refusal_of(job, check); !refusal.empty(); refusal = refusal_of(job, check)) {
    found.push_back(refusal);
    if (found.size() >= job_options().size() || !leave_out_cause(job, refusal, check)) break;
  }
  return found;
}

}  // namespace tessera
