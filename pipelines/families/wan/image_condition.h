#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include "checkpoints/wan/model.h"
#include "core/job.h"

namespace tessera {

/// What the denoiser is told of a job's pictures; a tensor is undefined where the model has no use for it.
struct ImageCondition {
  at::Tensor channels;     ///< [1, stride + z, t, h, w] float32: a mask of given frames and latents, beside the noise
  at::Tensor states;       ///< [1, S, image_dim], of the image encoder
  at::Tensor first_frame;  ///< [1, z, 1, h, w] float32: latents that stand in place of the first frame's, at time 0
};

/// A picture's file decoded, [H, W, 3] uint8. Throws Error naming the option and the file for one that is none.
at::Tensor read_input_picture(const InputPicture& picture, const std::string& option);

/// A picture as a frame of the job's size, [1, 3, 1, height, width] float32 in [-1, 1]: Lanczos, and stretched, cropped
/// or padded with black as `resize_mode` says. Source: diffusers' VaeImageProcessor.
at::Tensor frame_of_picture(const at::Tensor& picture, const Job& job);

/// A picture as CLIP sees it, [1, 3, side, side]: the shorter side bicubic to `side`, cropped to the middle,
/// normalized. Source: transformers' CLIPImageProcessor over Pillow.
at::Tensor clip_pixels(const at::Tensor& picture, int64_t side);

/// Of a resolved job of an image-to-video model; `last` undefined: no last picture. `states` comes from the image
/// encoder and is passed on. Frames are encoded chunk by chunk, in tiles where the job decodes in tiles. Source:
/// diffusers' WanImageToVideoPipeline.prepare_latents.
ImageCondition image_condition(const WanModel& model, const Loaded<WanVae>& vae, const Job& job,
                               const at::Tensor& image, const at::Tensor& last, at::Tensor states, at::Device device);

/// Width and height with the shape of a picture and at most the area of the given ones, in the steps that the model
/// takes. Source: the examples of diffusers and Wan's own program.
std::pair<int64_t, int64_t> size_like_picture(const at::Tensor& picture, const WanModel& model, int64_t width,
                                              int64_t height);

}  // namespace tessera
