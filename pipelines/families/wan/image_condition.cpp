#include "pipelines/families/wan/image_condition.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/cancel.h"
#include "core/error.h"
#include "media/picture.h"
#include "media/resample.h"

namespace tessera {
namespace {

constexpr double kClipMean[] = {0.48145466, 0.4578275, 0.40821073};
constexpr double kClipDeviation[] = {0.26862954, 0.26130258, 0.27577711};

/// The middle of a picture, or the picture in the middle of black, [height, width, 3].
at::Tensor centered(const at::Tensor& picture, int64_t width, int64_t height) {
  at::Tensor out = at::zeros({height, width, 3}, picture.options());
  const int64_t left = width / 2 - picture.size(1) / 2, top = height / 2 - picture.size(0) / 2;
  const int64_t from_x = std::max<int64_t>(0, -left), from_y = std::max<int64_t>(0, -top);
  const int64_t to_x = std::max<int64_t>(0, left), to_y = std::max<int64_t>(0, top);
  const int64_t w = std::min(picture.size(1) - from_x, width - to_x);
  const int64_t h = std::min(picture.size(0) - from_y, height - to_y);
  out.narrow(0, to_y, h).narrow(1, to_x, w).copy_(picture.narrow(0, from_y, h).narrow(1, from_x, w));
  return out;
}

/// A picture in its own shape: it covers the frame and is cut, or with `inside` lies in the frame.
at::Tensor fitted(const at::Tensor& picture, int64_t width, int64_t height, bool inside) {
  const int64_t w = picture.size(1), h = picture.size(0);
  const bool by_width = inside ? width * h < w * height : width * h > w * height;
  const int64_t made_w = by_width ? width : std::max<int64_t>(1, w * height / h);
  const int64_t made_h = by_width ? std::max<int64_t>(1, h * width / w) : height;
  return centered(resample(picture, made_w, made_h, ResampleFilter::kLanczos), width, height);
}

at::Tensor along_channels(const std::vector<double>& values, const at::Tensor& like) {
  return at::tensor(values, at::kFloat).to(like.device()).view({1, -1, 1, 1, 1});
}

/// The mean of the latents of frames [1, 3, T, H, W], normalized.
at::Tensor latents_of(const WanModel& model, const Loaded<WanVae>& vae, const at::Tensor& frames, int64_t tile) {
  const at::Tensor seen = frames.to(vae.dtype);
  const WanMoments moments =
      tile > 0 ? vae.part.encode_tiles(seen, tile, throw_if_canceled) : vae.part.encode_chunks(seen);
  const at::Tensor mean = moments.mean.to(at::kFloat);
  return (mean - along_channels(model.vae.latents_mean, mean)) * (1.0 / along_channels(model.vae.latents_std, mean));
}

/// Which frames are given, [1, stride, t, h, w]: the frames of a latent frame are channels, and the first frame, which
/// is a latent frame of its own, counts for all of them.
at::Tensor given_frames(const WanModel& model, const Job& job, bool last, const at::Tensor& latents) {
  const int64_t stride = model.vae.temporal_stride(), t = latents.size(2);
  at::Tensor given = at::zeros({stride * t}, latents.options());
  given.narrow(0, 0, stride).fill_(1);
  if (last) given.narrow(0, stride + *job.frames - 2, 1).fill_(1);
  return given.view({1, t, stride, 1, 1}).transpose(1, 2).expand({1, stride, t, latents.size(3), latents.size(4)});
}

}  // namespace

at::Tensor read_input_picture(const InputPicture& picture, const std::string& option) {
  try {
    return read_picture(picture.path);
  } catch (const Error& error) {
    throw Error("--" + option + ": " + error.what());
  }
}

at::Tensor frame_of_picture(const at::Tensor& picture, const Job& job) {
  const int64_t width = *job.width, height = *job.height;
  const std::string mode = job.resize_mode.value_or("stretch");
  const at::Tensor bytes = mode == "stretch" ? resample(picture, width, height, ResampleFilter::kLanczos)
                                             : fitted(picture, width, height, mode == "pad");
  return (bytes.permute({2, 0, 1}).to(at::kFloat) / 255.0 * 2.0 - 1.0).contiguous().unsqueeze(1).unsqueeze(0);
}

at::Tensor clip_pixels(const at::Tensor& picture, int64_t side) {
  const int64_t w = picture.size(1), h = picture.size(0), shorter = std::min(w, h);
  const int64_t longer = side * std::max(w, h) / shorter;
  const at::Tensor resized =
      resample(picture, w <= h ? side : longer, w <= h ? longer : side, ResampleFilter::kBicubic);
  const at::Tensor middle =
      resized.narrow(0, (resized.size(0) - side) / 2, side).narrow(1, (resized.size(1) - side) / 2, side);
  const auto colors = [](const double(&values)[3]) {
    return at::tensor(at::ArrayRef<double>(values, 3), at::kFloat).view({1, 3, 1, 1});
  };
  const at::Tensor values = middle.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat) / 255.0;
  return (values - colors(kClipMean)) / colors(kClipDeviation);
}

ImageCondition image_condition(const WanModel& model, const Loaded<WanVae>& vae, const Job& job,
                               const at::Tensor& image, const at::Tensor& last, at::Tensor states, at::Device device) {
  const at::Tensor first = frame_of_picture(image, job).to(device);
  ImageCondition made;
  made.states = std::move(states);
  if (!model.needs_image()) {
    made.first_frame = latents_of(model, vae, first, job.vae_tile.value_or(0));
    return made;
  }
  at::Tensor frames = at::zeros({1, 3, *job.frames, *job.height, *job.width}, first.options());
  frames.narrow(2, 0, 1).copy_(first);
  if (last.defined()) frames.narrow(2, *job.frames - 1, 1).copy_(frame_of_picture(last, job));
  const at::Tensor latents = latents_of(model, vae, frames, job.vae_tile.value_or(0));
  made.channels = at::cat({given_frames(model, job, last.defined(), latents), latents}, 1);
  return made;
}

std::pair<int64_t, int64_t> size_like_picture(const at::Tensor& picture, const WanModel& model, int64_t width,
                                              int64_t height) {
  const double area = static_cast<double>(width * height);
  const double shape = static_cast<double>(picture.size(0)) / static_cast<double>(picture.size(1));
  const auto steps_of = [](double size, int64_t step) {
    return std::max<int64_t>(1, static_cast<int64_t>(std::round(size)) / step) * step;
  };
  return {steps_of(std::sqrt(area / shape), model.width_multiple()),
          steps_of(std::sqrt(area * shape), model.height_multiple())};
}

}  // namespace tessera
