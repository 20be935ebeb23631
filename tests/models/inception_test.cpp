#include "models/inception/inception.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/instruction_set.h"
#include "tests/support/fixture.h"
#include "tests/support/inception_weights.h"
#include "tests/support/meta_kernels.h"
#include "tests/support/refuse_threads.h"

namespace tessera {
namespace {

TEST(InceptionGraph, SizesAreThePublishedOnes) {
  const InceptionGraph& graph = inception_graph();
  EXPECT_EQ(graph.convs.size(), 94u);
  const int64_t sides[] = {73, 35, 17, 8};
  ASSERT_EQ(graph.taps.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(graph.buffers[graph.taps[i].buffer].channels, graph.taps[i].dims);
    EXPECT_EQ(graph.buffers[graph.taps[i].buffer].height, sides[i]);
  }
  Inception inception;
  ParamList list;
  inception.params(list);
  EXPECT_EQ(list.size(), 94u * 5 + 2);
  EXPECT_EQ(list.count(), 23885392);  // torchvision's Inception v3 with 1008 classes, no auxiliary head
  EXPECT_THROW(graph.tap(100), Error);
}

TEST(Inception, RunsOnTheMetaDevice) {
  test::use_meta_kernels();
  Inception inception;
  ParamList list;
  inception.params(list);
  make_meta(list, at::kFloat);
  inception.prepare(at::kFloat, InceptionKernels::kComposed);
  const at::Tensor x = at::empty({2, 3, 299, 299}, at::device(at::kMeta).dtype(at::kFloat));
  const at::Tensor pooled = inception.features(x, 1, 0);
  EXPECT_TRUE(pooled.is_meta());
  EXPECT_EQ(pooled.sizes(), (std::vector<int64_t>{2, 2048}));
  EXPECT_EQ(inception.logits(pooled).size(1), 1008);
}

TEST(Inception, ARowDependsOnItsPictureAlone) {
  Inception inception;
  test::fill_by_formula(inception, 1);
  inception.prepare(at::kFloat);
  const at::Tensor x = at::rand({3, 3, 299, 299});
  const at::Tensor together = inception.features(x, 2, -1, 192);
  EXPECT_EQ(inception.features(x.narrow(0, 0, 0), 2, -1, 192).sizes(), (std::vector<int64_t>{0, 192}));
  if (inception.is_direct())
    EXPECT_TRUE(at::equal(together.narrow(0, 1, 1), inception.features(x.narrow(0, 1, 1), 2, -1, 192)));
  else
    EXPECT_CLOSE(together.narrow(0, 1, 1), inception.features(x.narrow(0, 1, 1), 2, -1, 192), 1e-5);
}

TEST(Inception, ResultsDoNotDependOnTheThreadsThatStart) {
  Inception inception;
  test::fill_by_formula(inception, 1);
  inception.prepare(at::kFloat);
  const at::Tensor x = at::rand({5, 3, 299, 299});
  const int threads = at::get_num_threads();
  at::set_num_threads(4);
  const at::Tensor wanted = inception.features(x, 2, -1, 192);
  for (const int64_t left : {0, 1, 2}) {
    if (inception.is_direct()) test::threads_left = left;  // the composed network's are OpenMP's
    const at::Tensor found = inception.features(x, 2, -1, 192);
    test::threads_left = INT64_MAX;
    EXPECT_TRUE(at::equal(found, wanted)) << left << " threads started";
  }
  at::set_num_threads(threads);
}

TEST(Inception, RunsWithoutAvx512) {
  const LimitInstructions limit(InstructionSet::kAvx2);
  const at::Tensor x = at::rand({1, 3, 299, 299});
  Inception exact;
  test::fill_by_formula(exact, 1);
  exact.prepare(at::kFloat, InceptionKernels::kComposed);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    Inception inception;
    test::fill_by_formula(inception, 1);
    EXPECT_THROW(inception.prepare(dtype, InceptionKernels::kDirect), Error);
    inception.prepare(dtype);
    EXPECT_FALSE(inception.is_direct());
    EXPECT_CLOSE(inception.features(x, 2, -1, 768), exact.features(x, 2, -1, 768), dtype == at::kFloat ? 1e-6 : 2e-2);
  }
}

}  // namespace
}  // namespace tessera
