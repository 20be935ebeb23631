#pragma once

#include <string>
#include <vector>

namespace tessera {

/// Coverage of one glyph, 0..1, row-major, at one size of its pyramid.
struct Mask {
  int64_t side = 0;
  std::vector<float> values;  ///< [side, side]

  /// Bilinear sample at pixel coordinates (center of the first pixel is 0.5, 0.5); 0 outside.
  float at(double x, double y) const;
};

/// One silhouette: its mask at 192, 96, 48 and 24 pixels. The longest side of the glyph fills 23/24 of the mask.
struct GlyphPyramid {
  std::vector<Mask> levels;

  /// The level that needs at most two of its pixels for one of a glyph `pixels` pixels tall.
  const Mask& level_for(double pixels) const;
};

/// The 20 silhouettes of the scene world, in a fixed order: star, heart, circle, ...
const std::vector<std::string>& shape_names();

/// Renders all silhouettes from Symbola and DejaVu Sans (Debian packages fonts-symbola and fonts-dejavu-core).
/// Throws Error naming the font file or code point that is missing.
std::vector<GlyphPyramid> load_glyphs();

}  // namespace tessera
