#include "core/params.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

struct Toy {
  at::Tensor weight, gain, mix;
  ParamList list() {
    ParamList out;
    out.add("weight", weight, {40, 50}, Init::normal(0.5));
    out.add_float("gain", gain, {7}, Init::ones());
    out.add("mix", mix, {2, 2}, Init::of([] { return at::eye(2); }));
    return out;
  }
};

}  // namespace

TEST(Params, CountsAndNamesFollowTheList) {
  Toy toy;
  EXPECT_EQ(toy.list().count(), 40 * 50 + 7 + 4);
  EXPECT_EQ(toy.list().names(), (std::vector<std::string>{"weight", "gain", "mix"}));
}

TEST(Params, InitialiseFollowsEachInitAndTheSeed) {
  Toy a, b, c;
  initialize(a.list(), 1, at::kCPU);
  initialize(b.list(), 1, at::kCPU);
  initialize(c.list(), 2, at::kCPU);
  EXPECT_TRUE(a.weight.equal(b.weight));
  EXPECT_FALSE(a.weight.equal(c.weight));
  EXPECT_NEAR(a.weight.std().item<double>(), 0.5, 0.03);
  EXPECT_TRUE(a.gain.equal(at::ones(7)));
  EXPECT_TRUE(a.mix.equal(at::eye(2)));
}

TEST(Params, InitialValueOfTheWrongShapeIsRefused) {
  at::Tensor slot;
  ParamList list;
  list.add("mix", slot, {3, 3}, Init::of([] { return at::eye(2); }));
  EXPECT_THROW(initialize(list, 0, at::kCPU), c10::Error);
}

TEST(Params, MetaTensorsKeepFloatWhereAsked) {
  Toy toy;
  make_meta(toy.list(), at::kBFloat16);
  EXPECT_EQ(toy.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(toy.gain.scalar_type(), at::kFloat);
  EXPECT_TRUE(toy.weight.is_meta());
}

}  // namespace tessera
