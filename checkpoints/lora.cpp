#include "checkpoints/lora.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/error.h"
#include "core/sha256.h"
#include "core/text.h"
#include "weights/shown.h"

namespace tessera {
namespace {

constexpr size_t kMostListed = 1000;
const std::string kWeight = ".weight", kBias = ".bias";

std::string flattened(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

std::string hash_of(const LoraFile& file) {
  Sha256 hash;
  for (const auto& path : file.files) hash.update_file(path);
  return hash.hex();
}

std::string list_of(const std::vector<std::string>& names, size_t most) {
  const size_t shown = std::min(names.size(), most);
  std::string text = joined(std::span(names).first(shown), ", ", [](const std::string& name) { return plain(name); });
  if (names.size() > shown) text += ", and " + std::to_string(names.size() - shown) + " more";
  return text;
}

bool changes_bias(const LoraLayer& layer) {
  return layer.up_bias.defined() || layer.diff_bias.defined();
}

bool changes_weight(const LoraLayer& layer) {
  return layer.down.defined() || layer.diff.defined();
}

bool is_bias_key(const std::string& key) {
  return key.ends_with(".diff_b") || key.ends_with(kBias);
}

/// Matches the layers of a file against networks.
class Matching {
 public:
  Matching(OpenedLora& lora, const std::vector<LoraNames>& networks) : lora_(lora), networks_(networks) {}

  void run() {
    lora_.unmatched = lora_.file.unknown;
    for (const auto& [name, layer] : lora_.file.layers) match(name, layer);
    std::sort(lora_.unmatched.begin(), lora_.unmatched.end());
    if (!lora_.changes.empty()) return;
    throw Error(lora_.file.where + " changes nothing in this model: none of its " +
                counted(static_cast<int64_t>(lora_.unmatched.size()), "tensor") + " matches (" +
                list_of(lora_.unmatched, 5) + "); is it for another model?");
  }

 private:
  void match(const std::string& name, const LoraLayer& layer) {
    for (const LoraNames& names : networks_) {
      const LoraNames::Layer* found = names.find(name);
      if (!found) continue;
      const bool to_weight = found->weight && changes_weight(layer), to_bias = found->bias && changes_bias(layer);
      if (to_weight) add(names.network(), *found->weight, name, layer, false);
      if (to_bias) add(names.network(), *found->bias, name, layer, true);
      for (const std::string& key : layer.keys)
        if (!(is_bias_key(key) ? to_bias : to_weight)) lora_.unmatched.push_back(key);
      return;
    }
    lora_.unmatched.insert(lora_.unmatched.end(), layer.keys.begin(), layer.keys.end());
  }

  void add(const std::string& network, const Param& param, const std::string& name, const LoraLayer& layer,
           bool to_bias) {
    const LoraTerm term{.file = &lora_.file, .layer = &layer, .layer_name = name, .to_bias = to_bias};
    check_lora_shape(term, param);
    std::vector<LoraTerm>& terms = lora_.changes[network][param.name];
    if (!terms.empty())
      throw Error(lora_.file.where + ": " + plain(name) + " and " + plain(terms.front().layer_name) +
                  " are one layer of this model under two names");
    terms.push_back(term);
  }

  OpenedLora& lora_;
  const std::vector<LoraNames>& networks_;
};

}  // namespace

LoraNames::LoraNames(std::string network, const ParamList& params, const NameTable& others,
                     std::vector<std::string> prefixes, std::vector<std::string> flat_prefixes)
    : network_(std::move(network)),
      prefixes_(std::move(prefixes)),
      flat_prefixes_(std::move(flat_prefixes)),
      params_(params.begin(), params.end()) {
  std::map<std::string, const Param*> by_name;
  for (Param& param : params_) {
    param.slot = nullptr;
    param.init = {};
    by_name[param.name] = &param;
    add(param.name, param, param.name);
  }
  for (const auto& [theirs, ours] : others)
    if (const auto found = by_name.find(ours); found != by_name.end()) add(theirs, *found->second, ours);
}

void LoraNames::add(const std::string& name, const Param& param, const std::string& canonical) {
  const bool bias = canonical.ends_with(kBias), weight = canonical.ends_with(kWeight);
  const std::string layer = bias     ? name.substr(0, name.size() - kBias.size())
                            : weight ? name.substr(0, name.size() - kWeight.size())
                                     : name;
  for (Layer* slot : {&layers_[layer], &flat_[flattened(layer)]}) (bias ? slot->bias : slot->weight) = &param;
}

const LoraNames::Layer* LoraNames::find(const std::string& name) const {
  for (const std::string& prefix : flat_prefixes_) {
    if (!name.starts_with(prefix)) continue;
    const auto found = flat_.find(name.substr(prefix.size()));
    return found == flat_.end() ? nullptr : &found->second;
  }
  std::string rest = name;
  while (true) {
    if (const auto found = layers_.find(rest); found != layers_.end()) return &found->second;
    const auto prefix =
        std::find_if(prefixes_.begin(), prefixes_.end(), [&](const std::string& one) { return rest.starts_with(one); });
    if (prefix == prefixes_.end()) return nullptr;
    rest.erase(0, prefix->size());
  }
}

std::string OpenedLora::unmatched_note() const {
  if (unmatched.empty()) return "";
  size_t all = file.unknown.size();
  for (const auto& [name, layer] : file.layers) all += layer.keys.size();
  return file.where + ": " + std::to_string(unmatched.size()) + " of its " +
         counted(static_cast<int64_t>(all), "tensor") +
         " match nothing in this model and are left out: " + list_of(unmatched, kMostListed);
}

const OpenedLora& LoraShelf::open(const std::string& path) {
  std::unique_ptr<OpenedLora>& slot = opened_[path];
  if (slot) return *slot;
  auto lora = std::make_unique<OpenedLora>();
  lora->file = read_lora_file(path);
  Matching(*lora, networks_).run();
  lora->sha256 = hash_of(lora->file);
  slot = std::move(lora);
  return *slot;
}

std::string lora_key(const std::vector<LoraUse>& loras, LoraShelf& shelf, const std::string& network) {
  std::string key;
  for (const LoraUse& use : loras) {
    const OpenedLora& lora = shelf.open(use.path);
    if (network.empty() || lora.changes.count(network))
      key += lora.sha256 + "*" + nlohmann::json(use.strength).dump() + use.expert + " ";
  }
  return key;
}

void LoraWeights::apply(const ParamList& params, const std::vector<LoraUse>& loras, LoraShelf& shelf) {
  const std::string wanted = lora_key(loras, shelf, network_);
  if (wanted == applied_) return;
  std::map<std::string, std::vector<LoraTerm>> terms;
  for (const LoraUse& use : loras) {
    const OpenedLora& lora = shelf.open(use.path);
    const auto changes = lora.changes.find(network_);
    if (changes == lora.changes.end()) continue;
    for (const auto& [name, added] : changes->second)
      for (LoraTerm term : added) {
        term.strength = use.strength;
        terms[name].push_back(term);
      }
  }
  applied_ = "?";  // until all is done; what throws halfway is computed again the next time
  const std::set<std::string> before = changed_;
  for (const auto& [name, added] : terms) changed_.insert(name);
  for (const Param& param : params)
    if (before.count(param.name) || terms.count(param.name))
      set_with_loras(param, file_.at(param.name), terms[param.name], dtype_, device_);
  changed_.clear();
  for (const auto& [name, added] : terms)
    if (!added.empty()) changed_.insert(name);
  applied_ = wanted;
}

}  // namespace tessera
