#include "training/rank_group.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "core/atomic_file.h"
#include "core/cancel.h"

namespace tessera {
namespace {

using std::chrono::milliseconds;

constexpr size_t kPieceBytes = 4 << 20;  // the table refuses values of more than 8 MiB
constexpr milliseconds kPatience = std::chrono::minutes(5), kPoll(2),
                       kMeetingPoll(200), kFarewell = std::chrono::seconds(10);
constexpr auto kMeetingPatience = std::chrono::minutes(10);
constexpr const char *kStopKey = "stop", *kLeftKey = "left", *kRunKey = "run";

bool share_a_machine(const Ranks& ranks) {
  return ranks.one_machine() || ranks.address == "127.0.0.1" || ranks.address == "localhost";
}

std::string host_name(const Ranks& ranks) {
  if (share_a_machine(ranks)) return "127.0.0.1";
  if (!ranks.address.empty()) return ranks.address;
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, HOST_NAME_MAX);
  return name;
}

std::unique_ptr<SharedStore> host_table(const Ranks& ranks, const std::filesystem::path& file) {
  std::random_device random;
  const std::string run = std::to_string(getpid()) + "-" + std::to_string(random()) + std::to_string(random());
  auto store = SharedStore::host(ranks.port, share_a_machine(ranks), kPatience);
  store->set(kRunKey, run);
  const nlohmann::json place = {{"run", run}, {"host", host_name(ranks)}, {"port", store->port()}};
  write_file_atomically(file, place.dump() + "\n");
  return store;
}

/// nullptr when the file is not there yet, or tells of an earlier run.
std::unique_ptr<SharedStore> find_table(const std::filesystem::path& file) {
  std::ifstream in(file);
  const nlohmann::json place = nlohmann::json::parse(in, nullptr, false);
  if (!place.is_object()) return nullptr;
  try {
    auto store = SharedStore::connect(place.at("host").get<std::string>(), place.at("port").get<uint16_t>(), kPatience);
    if (store && store->get(kRunKey) == place.at("run").get<std::string>()) return store;
  } catch (const nlohmann::json::exception&) {
  } catch (const StoreLost&) {
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<RankGroup> RankGroup::meet(const Ranks& ranks, const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "ranks.json";
  if (ranks.rank == 0) return std::make_unique<RankGroup>(host_table(ranks, file), 0, ranks.size);
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    throw_if_canceled();
    if (auto store = find_table(file)) return std::make_unique<RankGroup>(std::move(store), ranks.rank, ranks.size);
    if (std::chrono::steady_clock::now() - start > kMeetingPatience)
      throw Error("rank " + std::to_string(ranks.rank) + " found no rank 0 in " + file.string() +
                      " within ten minutes; check that rank 0 is running and that all machines share this folder",
                  ExitCode::kFailed);
    std::this_thread::sleep_for(kMeetingPoll);
  }
}

RankGroup::~RankGroup() {
  if (!store_) return;
  try {
    if (canceled() != 0) store_->set(kStopKey, std::to_string(rank_));
    const auto start = std::chrono::steady_clock::now();
    int64_t left = store_->add(kLeftKey, 1);
    while (rank_ == 0 && left < size_ && std::chrono::steady_clock::now() - start < kFarewell) {
      std::this_thread::sleep_for(kPoll);
      left = store_->add(kLeftKey, 0);
    }
  } catch (const StoreLost&) {  // rank 0 has left already
  }
}

std::string RankGroup::key(int rank, int64_t piece) const {
  // Two places in turn: a rank writes round n + 2 after all have sent n + 1, and so have read n.
  return std::to_string(round_ % 2) + "/" + std::to_string(rank) + "/" + std::to_string(piece);
}

void RankGroup::check_stop() {
  throw_if_canceled();
  if (const auto rank = store_->get(kStopKey))
    throw Error("rank " + *rank + " was stopped, and with it all others", ExitCode::kInterrupted);
}

void RankGroup::send(const std::string& bytes) {
  const std::string round(reinterpret_cast<const char*>(&round_), sizeof round_);
  for (size_t begin = 0; begin < bytes.size(); begin += kPieceBytes)
    store_->set(key(rank_, static_cast<int64_t>(begin / kPieceBytes)), round + bytes.substr(begin, kPieceBytes));
}

std::string RankGroup::receive(int rank, size_t size) {
  std::string bytes;
  while (bytes.size() < size) {
    const auto piece = store_->get(key(rank, static_cast<int64_t>(bytes.size() / kPieceBytes)));
    if (piece && std::memcmp(piece->data(), &round_, sizeof round_) == 0) {
      bytes += piece->substr(sizeof round_);
      if (piece->size() < kPieceBytes + sizeof round_) break;  // the last one
      continue;
    }
    check_stop();
    std::this_thread::sleep_for(kPoll);
  }
  if (bytes.size() != size)
    throw Error("rank " + std::to_string(rank) + " sent " + std::to_string(bytes.size()) +
                    " bytes of gradients, want " + std::to_string(size) + ": do all ranks have the same config?",
                ExitCode::kUsage);
  return bytes;
}

void RankGroup::sum(const std::vector<at::Tensor>& values) {
  std::string own;
  for (const at::Tensor& value : values) {
    TORCH_CHECK(value.is_contiguous() && value.scalar_type() == at::kFloat && value.is_cpu(),
                "RankGroup: want contiguous float32 tensors on the CPU");
    if (value.numel() > 0) own.append(static_cast<const char*>(value.const_data_ptr()), value.nbytes());
  }
  ++round_;
  try {
    send(own);
    std::vector<float> total(own.size() / sizeof(float), 0.0f), part(total.size());
    for (int rank = 0; rank < size_; ++rank) {
      const std::string bytes = rank == rank_ ? own : receive(rank, own.size());
      if (!part.empty()) std::memcpy(part.data(), bytes.data(), bytes.size());
      std::transform(total.begin(), total.end(), part.begin(), total.begin(), std::plus<>());
    }
    const float* next = total.data();
    for (const at::Tensor& value : values) {
      if (value.numel() == 0) continue;
      std::memcpy(value.mutable_data_ptr(), next, value.nbytes());
      next += value.numel();
    }
  } catch (const StoreLost&) {
    throw Error(
        "rank 0 cannot be reached any more: it has ended, or its machine or the network has failed; start all "
        "ranks again, which continue from the last checkpoint",
        ExitCode::kFailed);
  }
}

}  // namespace tessera
