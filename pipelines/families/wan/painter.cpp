#include "pipelines/families/wan/painter.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/cancel.h"
#include "core/error.h"

namespace tessera {

LatentPainter linear_painter(const WanModel& model) {
  const LatentRgb rgb = model.vae.latent_rgb;
  if (rgb.factors.empty())
    throw Error(model.folder.component("vae").config().where() +
                " has no latent_rgb_factors, which previews need: fit them with tessera train preview, or give a tiny "
                "decoder with --preview-decoder");
  const int64_t enlarged = std::max<int64_t>(1, model.vae.spatial_stride() / 2);
  return [rgb, enlarged](const at::Tensor& data) {
    const at::Tensor colors = rgb(data)[0];  // [3, t, h, w]
    std::vector<at::Tensor> pictures;
    for (const int64_t t : preview_frames(data.size(2))) {
      const at::Tensor small = colors.select(1, t).unsqueeze(0);
      pictures.push_back(at::upsample_bilinear2d(small, {enlarged * data.size(3), enlarged * data.size(4)},
                                                 /*align_corners=*/false)[0]);
    }
    return picture_row(pictures).cpu();
  };
}

LatentPainter decoded_painter(TinyDecoder decoder) {
  return [decoder = std::move(decoder)](const at::Tensor& data) {
    const std::vector<int64_t> wanted = preview_frames(data.size(2));
    std::vector<at::Tensor> pictures;
    decoder(data, [&](int64_t t, const at::Tensor& picture) {
      throw_if_canceled();
      if (std::find(wanted.begin(), wanted.end(), t) != wanted.end()) pictures.push_back(picture[0].cpu());
    });
    return picture_row(pictures);
  };
}

}  // namespace tessera
