#include "core/ranks.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace tessera {
namespace {

std::string refusal(const Variables& variables) {
  return test::refusal_of([&] { find_ranks(variables); });
}

void expect_ranks(const Variables& variables, int rank, int size, int local_rank, int local_size,
                  const std::string& launcher) {
  const Ranks ranks = find_ranks(variables);
  EXPECT_EQ(ranks.rank, rank);
  EXPECT_EQ(ranks.size, size);
  EXPECT_EQ(ranks.local_rank, local_rank);
  EXPECT_EQ(ranks.local_size, local_size);
  EXPECT_EQ(ranks.launcher, launcher);
}

TEST(Ranks, NothingSaysAProcessAlone) {
  expect_ranks({}, 0, 1, 0, 0, "");
  expect_ranks({{"PATH", "/bin"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "1"}}, 0, 1, 0, 0, "");
  EXPECT_EQ(find_ranks({{"MASTER_ADDR", "h"}}).address, "");
}

TEST(Ranks, TorchrunAndItsAgent) {
  Variables variables = {{"RANK", "3"},        {"WORLD_SIZE", "4"},     {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"},
                         {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}};
  expect_ranks(variables, 3, 4, 1, 2, "torchrun");
  EXPECT_EQ(find_ranks(variables).address, "a");
  EXPECT_EQ(find_ranks(variables).port, 29500);
  EXPECT_FALSE(find_ranks(variables).one_machine());
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_EQ(find_ranks(variables).port, 0) << "the agent listens there";
  variables["LOCAL_WORLD_SIZE"] = "4";
  EXPECT_TRUE(find_ranks(variables).one_machine());
}

TEST(Ranks, MpiLaunchers) {
  expect_ranks({{"OMPI_COMM_WORLD_RANK", "1"},
                {"OMPI_COMM_WORLD_SIZE", "2"},
                {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
               1, 2, 1, 2, "Open MPI");
  expect_ranks({{"PMI_RANK", "0"}, {"PMI_SIZE", "8"}, {"MPI_LOCALRANKID", "0"}, {"MPI_LOCALNRANKS", "4"}}, 0, 8, 0, 4,
               "MPI (PMI)");
}

TEST(Ranks, SlurmOnlyWhereSrunStartedSeveralTasks) {
  expect_ranks({{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "6"}, {"SLURM_LOCALID", "2"}}, 5, 6, 2, 0, "Slurm");
  // A batch script of a job with four tasks, before any srun.
  expect_ranks({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_LOCALID", "0"}}, 0, 1, 0, 0, "");
  expect_ranks({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "4"}}, 0, 1, 0, 0, "");
}

TEST(Ranks, WorkersOfABatchComeFirst) {
  expect_ranks({{"TESSERA_WORKER", "2"}, {"TESSERA_WORKERS", "3"}, {"RANK", "0"}, {"WORLD_SIZE", "9"}}, 2, 3, 2, 3,
               "tessera");
  expect_ranks({{"TESSERA_WORKER", "0"}, {"TESSERA_WORKERS", "1"}}, 0, 1, 0, 1, "tessera");
}

TEST(Ranks, AnInheritedSizeOfOneDoesNoHarm) {
  const Variables mpi = {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}};
  for (const Variables& inherited : {Variables{{"WORLD_SIZE", "1"}}, Variables{{"WORLD_SIZE", "1"}, {"RANK", "0"}}}) {
    expect_ranks(inherited, 0, 1, 0, 0, "");
    Variables both = mpi;
    both.insert(inherited.begin(), inherited.end());
    expect_ranks(both, 1, 2, 0, 0, "Open MPI");
  }
}

TEST(Ranks, HalfSetOrImpossibleIsRefused) {
  EXPECT_NE(refusal({{"RANK", "0"}}).find("RANK is set and WORLD_SIZE is not"), std::string::npos);
  EXPECT_NE(refusal({{"WORLD_SIZE", "2"}}).find("WORLD_SIZE is set and RANK is not"), std::string::npos);
  EXPECT_NE(refusal({{"OMPI_COMM_WORLD_RANK", "0"}}).find("OMPI_COMM_WORLD_SIZE is not"), std::string::npos);
  EXPECT_NE(refusal({{"RANK", "2"}, {"WORLD_SIZE", "2"}}).find("RANK=2 does not fit WORLD_SIZE=2"), std::string::npos);
  for (const std::string wrong : {"x", "-1", "1x", "99999999999"})
    EXPECT_NE(refusal({{"RANK", wrong}, {"WORLD_SIZE", "2"}}).find("RANK is \"" + wrong + "\""), std::string::npos);
  EXPECT_NE(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "70000"}}).find("70000"), std::string::npos);
}

TEST(Ranks, RankHandedDownByAShellContradictsMpirun) {
  Variables variables = {
      {"RANK", "0"}, {"WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}};
  EXPECT_NE(refusal(variables).find("RANK=0 of WORLD_SIZE=2 contradicts OMPI_COMM_WORLD_RANK=1"), std::string::npos);
  variables["RANK"] = "1";  // a wrapper that translates
  expect_ranks(variables, 1, 2, 0, 0, "torchrun");
  variables["RANK"] = "0";
  variables["TORCHELASTIC_RUN_ID"] = "x";  // torchrun inside of mpirun
  expect_ranks(variables, 0, 2, 0, 0, "torchrun");
}

TEST(Shards, PartsAndSlurmArrays) {
  EXPECT_EQ(parse_shard("2/10", {}).index, 2);
  EXPECT_EQ(parse_shard("2/10", {}).count, 10);
  const auto array = [](const std::string& id, const std::string& count, const std::string& least,
                        const std::string& most) {
    return parse_shard("array", {{"SLURM_ARRAY_TASK_ID", id},
                                 {"SLURM_ARRAY_TASK_COUNT", count},
                                 {"SLURM_ARRAY_TASK_MIN", least},
                                 {"SLURM_ARRAY_TASK_MAX", most}});
  };
  EXPECT_EQ(array("7", "4", "1", "10").index, 2);  // 1, 4, 7, 10
  EXPECT_EQ(array("7", "4", "1", "10").count, 4);
  EXPECT_EQ(array("5", "1", "5", "5").index, 0);
  EXPECT_THROW(array("3", "3", "1", "7"), Error);  // 1, 3, 7
  EXPECT_THROW(array("2", "4", "1", "10"), Error);
  EXPECT_THROW(parse_shard("array", {}), Error);
  for (const std::string wrong : {"", "1", "1/", "/2", "2/2", "-1/2", "1/2x", "1/0", "a/b"})
    EXPECT_THROW(parse_shard(wrong, {}), Error) << wrong;
}

}  // namespace
}  // namespace tessera
