#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace tessera {

using Variables = std::map<std::string, std::string>;

/// The environment of this process. Of a name that occurs twice the first counts.
Variables environment_variables();

/// This process's place among those that a launcher started together.
struct Ranks {
  int rank = 0;
  int size = 1;
  int local_rank = 0;    ///< place among the processes of this machine
  int local_size = 0;    ///< processes on this machine; 0: the launcher does not say
  std::string launcher;  ///< "torchrun", "Open MPI", "MPI (PMI)", "Slurm", "tessera"; "" when nothing launched it
  std::string address;   ///< MASTER_ADDR, where rank 0 is reached; "" when it is not set
  uint16_t port = 0;     ///< MASTER_PORT, for rank 0 to listen on; 0: any free one

  /// Whether every rank is known to be on this machine.
  bool one_machine() const { return local_size == size; }
};

/// Recognizes the first of these that applies:
/// - `tessera batch --workers`: TESSERA_WORKER, TESSERA_WORKERS;
/// - torchrun and whatever speaks its language: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE;
/// - Open MPI: OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE;
/// - MPICH, Intel MPI: PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS;
/// - srun: SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID. A batch script's own SLURM_NTASKS, where no srun has
///   started several tasks, means nothing.
/// A launcher's group that says "one process" is passed over, so that a variable inherited from elsewhere does no harm.
/// MASTER_ADDR and MASTER_PORT are read whichever launcher it is; under torchrun's agent, which keeps the port for
/// itself (TORCHELASTIC_USE_AGENT_STORE), the port stays 0. Throws Error for a group that is half set, is no number or
/// out of range, and for RANK and WORLD_SIZE that contradict another launcher without torchrun having set them.
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
