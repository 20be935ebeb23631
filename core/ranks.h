#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tessera {

using Variables = std::map<std::string, std::string>;

/// The environment of this process. Of a name that occurs twice the first counts.
Variables environment_variables();

/// The place of this process among those that a launcher started together.
struct Ranks {
  int rank = 0;
  int size = 1;
  int local_rank = 0;         ///< place among the processes of this machine
  int local_size = 0;         ///< processes on this machine; 0: unknown
  std::string launcher = {};  ///< "torchrun", "Open MPI", "MPI (PMI)", "Slurm", "tessera"; "" when nothing launched it
  std::string address = {};   ///< MASTER_ADDR, where rank 0 is reached; "" when it is not set
  uint16_t port = 0;          ///< MASTER_PORT, for rank 0 to listen on; 0: any free one

  /// Whether every rank is known to be on this machine.
  bool one_machine() const { return local_size == size; }
  /// Whether this process is one of those that work on the same run.
  bool several() const { return size > 1 || launcher == "tessera"; }
  /// Whether this process reports for the whole run. No worker of `--workers` does: the process that started them does.
  bool leads() const { return rank == 0 && launcher != "tessera"; }
};

/// Recognizes the first of these that applies:
/// - `tessera batch --workers`: TESSERA_WORKER, TESSERA_WORKERS;
/// - torchrun and launchers that set the same variables: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE;
/// - Open MPI: OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE;
/// - MPICH, Intel MPI: PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS;
/// - srun: SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID. SLURM_NTASKS of a batch script that did not
///   start tasks with srun is ignored.
/// Variables that say "one process" are ignored, so that inherited ones do no harm.
/// MASTER_ADDR and MASTER_PORT are read for every launcher; under torchrun's agent, which occupies the port itself
/// (TORCHELASTIC_USE_AGENT_STORE), the port stays 0. Throws Error for variables that are only partly set, not numbers
/// or out of range, and for RANK and WORLD_SIZE that contradict another launcher and were not set by torchrun.
Ranks find_ranks(const Variables& variables);

/// Part `index` of `count` equal parts of a batch, for machines that share nothing but a folder.
struct Shard {
  int index = 0;  ///< from 0
  int count = 1;
};

/// "2/10" is the third of ten (0/10 to 9/10). "array" takes SLURM_ARRAY_TASK_ID among the tasks of its array, which
/// must be a plain range (--array=0-9 or 1-10, a step is allowed). Throws Error for anything else.
Shard parse_shard(const std::string& text, const Variables& variables);

}  // namespace tessera
