#include "core/ranks.h"

#include <unistd.h>

#include <charconv>
#include <optional>

#include "core/error.h"

namespace tessera {
namespace {

/// The variables in which a launcher tells a process its place.
struct Dialect {
  const char *launcher, *rank, *size, *local_rank, *local_size;
};

constexpr Dialect kWorkers = {"tessera", "TESSERA_WORKER", "TESSERA_WORKERS", "TESSERA_WORKER", "TESSERA_WORKERS"};
constexpr Dialect kTorchrun = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Dialect kOpenMpi = {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                              "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Dialect kPmi = {"MPI (PMI)", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};
constexpr Dialect kSlurm = {"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""};

const std::string* find(const Variables& variables, const std::string& name) {
  const auto found = variables.find(name);
  return found == variables.end() || found->second.empty() ? nullptr : &found->second;
}

/// The number that `name` holds; unset is nullopt.
std::optional<int> number(const Variables& variables, const std::string& name) {
  const std::string* text = find(variables, name);
  if (!text) return {};
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0)
    throw Error("the environment variable " + name + " is \"" + *text +
                "\" and should be a number; unset it, or start " + "tessera through the launcher that sets it");
  return value;
}

/// What a launcher says; nullopt when it says nothing, or that there is only one process.
std::optional<Ranks> read(const Dialect& dialect, const Variables& variables) {
  const std::optional<int> rank = number(variables, dialect.rank), size = number(variables, dialect.size);
  if (size == 1 && dialect.launcher != std::string(kWorkers.launcher)) return {};
  // A batch script has SLURM_PROCID without any srun.
  if (rank.has_value() != size.has_value() && dialect.launcher == std::string(kSlurm.launcher)) return {};
  if (rank.has_value() != size.has_value())
    throw Error(std::string("the environment variable ") + (rank ? dialect.rank : dialect.size) + " is set and " +
                (rank ? dialect.size : dialect.rank) + " is not: set both, as " + dialect.launcher +
                " does, or unset both");
  if (!rank) return {};
  if (*rank >= *size)
    throw Error(std::string(dialect.rank) + "=" + std::to_string(*rank) + " does not fit " + dialect.size + "=" +
                std::to_string(*size) + ": ranks count from 0 to one less than the size");
  return Ranks{.rank = *rank,
               .size = *size,
               .local_rank = number(variables, dialect.local_rank).value_or(0),
               .local_size = number(variables, dialect.local_size).value_or(0),
               .launcher = dialect.launcher};
}

/// Refuses RANK and WORLD_SIZE that a shell passed on to the processes of another launcher. torchrun itself may run
/// inside another launcher, once per machine.
void refuse_contradiction(const Ranks& torchrun, const Variables& variables) {
  if (find(variables, "TORCHELASTIC_RUN_ID")) return;
  for (const Dialect& dialect : {kOpenMpi, kPmi, kSlurm}) {
    const std::optional<Ranks> other = read(dialect, variables);
    if (!other || (other->rank == torchrun.rank && other->size == torchrun.size)) continue;
    throw Error("RANK=" + std::to_string(torchrun.rank) + " of WORLD_SIZE=" + std::to_string(torchrun.size) +
                " contradicts " + dialect.rank + "=" + std::to_string(other->rank) + " of " + dialect.size + "=" +
                std::to_string(other->size) + "; unset RANK and WORLD_SIZE");
  }
}

void read_master(Ranks& ranks, const Variables& variables) {
  if (const std::string* address = find(variables, "MASTER_ADDR")) ranks.address = *address;
  const std::string* agent = find(variables, "TORCHELASTIC_USE_AGENT_STORE");
  if (agent && (*agent == "True" || *agent == "true" || *agent == "1")) return;
  const int port = number(variables, "MASTER_PORT").value_or(0);
  if (port > 65535) throw Error("MASTER_PORT is " + std::to_string(port) + "; a port is at most 65535");
  ranks.port = static_cast<uint16_t>(port);
}

}  // namespace

Variables environment_variables() {
  Variables variables;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) variables.try_emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

Ranks find_ranks(const Variables& variables) {
  if (auto worker = read(kWorkers, variables)) return *worker;
  for (const Dialect& dialect : {kTorchrun, kOpenMpi, kPmi, kSlurm}) {
    std::optional<Ranks> ranks = read(dialect, variables);
    if (!ranks) continue;
    if (ranks->launcher == kTorchrun.launcher) refuse_contradiction(*ranks, variables);
    read_master(*ranks, variables);
    return *ranks;
  }
  return {};
}

Shard parse_shard(const std::string& text, const Variables& variables) {
  Shard shard;
  if (text == "array") {
    const auto id = number(variables, "SLURM_ARRAY_TASK_ID"), count = number(variables, "SLURM_ARRAY_TASK_COUNT"),
               least = number(variables, "SLURM_ARRAY_TASK_MIN"), most = number(variables, "SLURM_ARRAY_TASK_MAX");
    if (!id || !count || !least || !most)
      throw Error(
          "--shard array is for the tasks of a Slurm array (sbatch --array=0-9), and SLURM_ARRAY_TASK_ID, "
          "_COUNT, _MIN or _MAX is not set; otherwise use --shard I/N");
    const int span = *most - *least, step = *count > 1 ? span / (*count - 1) : 1;
    if (*count < 1 || *id < *least || *id > *most || step < 1 || step * (*count - 1) != span ||
        (*id - *least) % step != 0)
      throw Error("--shard array needs an array that is a plain range, such as --array=0-9; this one has " +
                  std::to_string(*count) + " tasks from " + std::to_string(*least) + " to " + std::to_string(*most) +
                  "; use --shard I/N");
    return {(*id - *least) / step, *count};
  }
  const char* end = text.data() + text.size();
  const auto [slash, no_index] = std::from_chars(text.data(), end, shard.index);
  if (no_index == std::errc() && slash != end && *slash == '/') {
    const auto [stop, no_count] = std::from_chars(slash + 1, end, shard.count);
    if (no_count == std::errc() && stop == end && shard.index >= 0 && shard.index < shard.count) return shard;
  }
  throw Error("--shard is \"" + text + "\"; it is I/N with I from 0 to N - 1, such as 0/4, or array");
}

}  // namespace tessera
