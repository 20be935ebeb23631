#include "models/recomputed.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

namespace tessera {
namespace {

/// The backward pass of a part: computes it again with gradients, and goes back through that.
struct RecomputeNode : torch::autograd::Node {
  Recomputable part;
  std::vector<at::Tensor> inputs;    // detached
  std::vector<bool> wants_gradient;  // of the inputs

  std::string name() const override { return "tessera::recomputed"; }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    TORCH_CHECK(part, "recomputed: a second backward pass through the same call");
    std::vector<at::Tensor> leaves;
    for (size_t i = 0; i < inputs.size(); ++i) leaves.push_back(inputs[i].detach().requires_grad_(wants_gradient[i]));
    torch::autograd::variable_list out(leaves.size());
    if (!gradients[0].defined()) return out;
    const c10::AutoGradMode with_gradients(true);
    const at::Tensor result = part(leaves);
    if (!result.requires_grad()) return out;
    result.backward(gradients[0]);
    for (size_t i = 0; i < leaves.size(); ++i) out[i] = leaves[i].grad();
    return out;
  }

  void release_variables() override {
    part = {};
    inputs.clear();
  }
};

}  // namespace

at::Tensor recomputed(const Recomputable& part, const std::vector<at::Tensor>& inputs) {
  if (!c10::GradMode::is_enabled()) return part(inputs);
  const std::shared_ptr<RecomputeNode> node(new RecomputeNode, torch::autograd::deleteNode);
  torch::autograd::edge_list edges;
  for (const at::Tensor& input : inputs) {
    edges.push_back(torch::autograd::impl::gradient_edge(input));
    node->inputs.push_back(input.detach());
    node->wants_gradient.push_back(input.requires_grad());
  }
  node->set_next_edges(std::move(edges));
  node->part = part;
  const c10::NoGradGuard no_gradients;
  at::Tensor out = part(inputs);
  torch::autograd::create_gradient_edge(out, node);
  return out;
}

}  // namespace tessera
