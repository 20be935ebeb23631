// The whole program with the kernels of kernels/cuda on the stand-in device: pictures are those of LibTorch's
// operations, no kernel gets host memory, and packed weights travel packed.
#include <gtest/gtest.h>

#include "media/picture.h"
#include "tests/stand_in/support.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;

const std::string kBundledModel = std::string(TESSERA_SOURCE_DIR) + "/weights/bundled";
const std::string kPlugIn = std::string("TESSERA_CUDA_KERNELS=") + TESSERA_STAND_IN + "/libtessera_cuda.so";
const std::string kNoPlugIn = "TESSERA_CUDA_KERNELS=off";

class StandInKernels : public testing::Test {
 protected:
  TemporaryFolder folder;

  StandInRun render(const fs::path& output, const std::string& kernels, const std::vector<std::string>& more) {
    std::vector<std::string> command = {"generate", "--steps", "2",        "--seed", "3",       "-q",
                                        "-o",       output,    "--device", "cuda",   "--dtype", "fp32"};
    command.insert(command.end(), more.begin(), more.end());
    return done_on_stand_in(command, {kernels});
  }

  /// Renders with and without the plug-in; the first run's report.
  nlohmann::json kernels_of(const std::vector<std::string>& job) {
    const StandInRun fused = render(folder / "fused.png", kPlugIn, job);
    render(folder / "composed.png", kNoPlugIn, job);
    const at::Tensor a = read_picture(folder / "fused.png"), b = read_picture(folder / "composed.png");
    EXPECT_LE((a.to(at::kInt) - b.to(at::kInt)).abs().max().item<int64_t>(), 1);
    return fused.report().at("kernels");
  }
};

TEST_F(StandInKernels, MhlaDrawsWhatItsOperationsDraw) {
  const nlohmann::json ran = kernels_of({"a red star", "--model", kBundledModel, "--frames", "1", "--size", "64x64"});
  for (const char* kernel : {"features", "ungroup", "adaptive_norm", "depthwise"})
    EXPECT_GT(ran.value(std::string("tessera::") + kernel, 0), 0) << kernel;
}

TEST_F(StandInKernels, DitDrawsWhatItsOperationsDraw) {
  const nlohmann::json ran =
      kernels_of({"--class", "3", "--model", (fixture_folder() / "dit_pipeline" / "pipeline").string()});
  EXPECT_GT(ran.value("tessera::adaptive_norm", 0), 0);
}

TEST_F(StandInKernels, PackedWeightsTravelPacked) {
  for (const char* dtype : {"q8_0", "fp8"}) {
    SCOPED_TRACE(dtype);
    const fs::path model = folder / dtype;
    ASSERT_EQ(tessera({"convert", kBundledModel, model, "--dtype", dtype, "-q"}).exit_code, 0);
    const std::vector<std::string> job = {"a red star", "--model", model, "--frames", "1", "--size", "64x64"};
    const nlohmann::json ran = kernels_of(job);
    EXPECT_GT(ran.value("tessera::unpack", 0), 20) << "matrices of six layers and of the text encoder";
    const StandInRun packed = render(folder / "p.png", kPlugIn, job), plain = render(folder / "n.png", kNoPlugIn, job);
    EXPECT_LT(packed.of("upload_bytes"), plain.of("upload_bytes") * 3 / 4);
  }
}

}  // namespace
}  // namespace tessera::test
