#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/params.h"
#include "weights/lora.h"
#include "weights/names.h"

namespace tessera {

/// The parameters of one network by the names that LoRA files have for its layers.
class LoraNames {
 public:
  /// A layer: its weight, or a parameter that is no weight (modulation), and its bias if it has one.
  struct Layer {
    const Param* weight = nullptr;
    const Param* bias = nullptr;
  };

  /// `params` are the network's (its slots are not touched); `others` are further names of theirs (see
  /// weights/names.h). Names may stand behind any of `prefixes` ("transformer."), also several; behind one of
  /// `flat_prefixes` ("lora_unet_") they have '_' for every '.'.
  LoraNames(std::string network, const ParamList& params, const NameTable& others, std::vector<std::string> prefixes,
            std::vector<std::string> flat_prefixes);
  LoraNames(LoraNames&&) = default;  // the layers point into it

  const std::string& network() const { return network_; }
  /// nullptr when no layer of this network has that name in any layout. Whole names only.
  const Layer* find(const std::string& name) const;

 private:
  void add(const std::string& name, const Param& param, const std::string& canonical);

  std::string network_;
  std::vector<std::string> prefixes_, flat_prefixes_;
  std::vector<Param> params_;
  std::map<std::string, Layer> layers_, flat_;
};

/// A LoRA and what of a model it changes.
struct OpenedLora {
  LoraFile file;
  std::string sha256;  ///< of the bytes of all its files
  /// Network -> parameter -> what is added to it, at strength 1.
  std::map<std::string, std::map<std::string, std::vector<LoraTerm>>> changes;
  std::vector<std::string> unmatched;  ///< tensors that nothing in the model has a name for

  /// "style.safetensors: 3 of its 20 tensors match nothing in this model and are left out: ...", "" when all match.
  std::string unmatched_note() const;
};

/// The LoRAs used with a model, each opened once, matched against its networks.
class LoraShelf {
 public:
  explicit LoraShelf(std::vector<LoraNames> networks) : networks_(std::move(networks)) {}

  /// Throws Error: what read_lora_file throws, tensors whose shapes do not fit, or nothing that matches (naming some).
  const OpenedLora& open(const std::string& path);

 private:
  std::vector<LoraNames> networks_;
  std::map<std::string, std::unique_ptr<OpenedLora>> opened_;  // by path
};

/// SHA-256, strength and expert of every LoRA in order: equal for jobs whose networks have the same weights. With
/// `network`, only of those that change it. "" for none.
std::string lora_key(const std::vector<LoraUse>& loras, LoraShelf& shelf, const std::string& network = "");

/// The weights of a loaded network, to which LoRAs are added and from which they are taken again without a trace.
class LoraWeights {
 public:
  /// `file` holds the network's weights under canonical names, as they were bound in `dtype` on `device`.
  LoraWeights(std::string network, TensorFile file, at::ScalarType dtype, at::Device device)
      : network_(std::move(network)), file_(std::move(file)), dtype_(dtype), device_(device) {}

  /// Makes the weights those of the file with `loras` over them, in order. Only parameters that these or the last ones
  /// change are computed. Throws what LoraShelf::open and set_with_loras throw.
  void apply(const ParamList& params, const std::vector<LoraUse>& loras, LoraShelf& shelf);
  template <class Network>
  void apply_to(Network& network, const std::vector<LoraUse>& loras, LoraShelf& shelf) {
    ParamList params;
    network.params(params);
    apply(params, loras, shelf);
  }

 private:
  std::string network_;
  TensorFile file_;
  at::ScalarType dtype_;
  at::Device device_;
  std::string applied_;            // lora_key
  std::set<std::string> changed_;  // parameters
};

}  // namespace tessera
