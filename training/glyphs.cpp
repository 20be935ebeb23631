#include "training/glyphs.h"

#include <ft2build.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.h"
#include FT_FREETYPE_H
#include FT_OUTLINE_H

namespace tessera {
namespace {

constexpr int64_t kMaskSide = 192;
constexpr int64_t kGlyphSide = 184;  // leaves room for anti-aliased edges
constexpr const char* kSymbola = "/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf";
constexpr const char* kDejaVu = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

struct Glyph {
  const char* name;
  const char* font;
  FT_ULong code_point;
  bool fill_holes = false;  // outline glyphs become solid
  double embolden = 0.0;    // extra stroke, in parts of the glyph's longest side: thin strokes vanish when small
};

const std::vector<Glyph>& glyph_table() {
  static const std::vector<Glyph> table = {
      {"star", kSymbola, 0x2605},
      {"heart", kSymbola, 0x2665},
      {"circle", kSymbola, 0x25CF},
      {"square", kSymbola, 0x25A0},
      {"triangle", kDejaVu, 0x25B2},
      {"diamond", kDejaVu, 0x2666},
      {"moon", kSymbola, 0x263E, true},
      {"cross", kDejaVu, 0x271A},
      {"arrow", kSymbola, 0x27A1},
      {"lightning", kSymbola, 0x1F5F2, false, 0.02},
      {"umbrella", kSymbola, 0x2602, false, 0.025},
      {"airplane", kSymbola, 0x2708},
      {"flower", kSymbola, 0x273F},
      {"snowflake", kDejaVu, 0x2746, false, 0.015},
      {"note", kSymbola, 0x266B, false, 0.03},
      {"anchor", kDejaVu, 0x2693, false, 0.02},
      {"crown", kDejaVu, 0x265B, true, 0.03},
      {"spade", kSymbola, 0x2660},
      {"club", kSymbola, 0x2663},
      {"sun", kDejaVu, 0x2600, false, 0.04},
  };
  return table;
}

struct FreeTypeLibrary {
  FreeTypeLibrary() {
    if (FT_Init_FreeType(&handle)) throw Error("cannot initialize FreeType", ExitCode::kFailed);
  }
  ~FreeTypeLibrary() { FT_Done_FreeType(handle); }
  FT_Library handle = nullptr;
};

struct FontFace {
  FontFace(FT_Library library, const std::string& path) {
    if (FT_New_Face(library, path.c_str(), 0, &handle))
      throw Error(path + ": cannot open this font; install the Debian packages fonts-symbola and fonts-dejavu-core");
    FT_Set_Pixel_Sizes(handle, 0, 512);
  }
  ~FontFace() { FT_Done_Face(handle); }
  FT_Face handle = nullptr;
};

/// Moves and scales the outline so that its longest side is kGlyphSide pixels, centered in the mask.
void fit_to_mask(FT_Outline* outline) {
  FT_BBox box;
  FT_Outline_Get_CBox(outline, &box);
  const double longest = std::max<double>(box.xMax - box.xMin, box.yMax - box.yMin);
  const auto scale = static_cast<FT_Fixed>(std::lround(kGlyphSide * 64.0 / longest * 65536.0));
  FT_Matrix matrix{scale, 0, 0, scale};
  FT_Outline_Transform(outline, &matrix);
  FT_Outline_Get_CBox(outline, &box);
  FT_Outline_Translate(outline, kMaskSide * 32 - (box.xMax + box.xMin) / 2, kMaskSide * 32 - (box.yMax + box.yMin) / 2);
}

void raster_into(FT_Library library, FT_Outline* outline, std::vector<float>& values) {
  std::vector<unsigned char> pixels(kMaskSide * kMaskSide, 0);
  FT_Bitmap bitmap{};
  bitmap.rows = bitmap.width = kMaskSide;
  bitmap.pitch = kMaskSide;
  bitmap.buffer = pixels.data();
  bitmap.num_grays = 256;
  bitmap.pixel_mode = FT_PIXEL_MODE_GRAY;
  if (FT_Outline_Get_Bitmap(library, outline, &bitmap))
    throw Error("FreeType cannot draw a glyph outline", ExitCode::kFailed);
  for (size_t i = 0; i < pixels.size(); ++i) values[i] = std::max(values[i], pixels[i] / 255.0f);
}

/// Draws each contour by itself and unites them, so that holes are filled.
void raster_filled(FT_Library library, const FT_Outline& outline, std::vector<float>& values) {
  int first = 0;
  for (int contour = 0; contour < outline.n_contours; ++contour) {
    const int last = outline.contours[contour];
    FT_Outline single = outline;
    short end = static_cast<short>(last - first);
    single.n_contours = 1;
    single.n_points = static_cast<short>(end + 1);
    single.points = outline.points + first;
    single.tags = outline.tags + first;
    single.contours = &end;
    raster_into(library, &single, values);
    first = last + 1;
  }
}

Mask raster(FT_Library library, FT_Face face, const Glyph& glyph) {
  const FT_UInt index = FT_Get_Char_Index(face, glyph.code_point);
  if (!index || FT_Load_Glyph(face, index, FT_LOAD_NO_HINTING | FT_LOAD_NO_BITMAP))
    throw Error(std::string(glyph.font) + ": has no glyph for " + glyph.name + "; another version of the font?");
  FT_Outline* outline = &face->glyph->outline;
  fit_to_mask(outline);
  if (glyph.embolden > 0) {
    FT_Outline_Embolden(outline, std::lround(glyph.embolden * kGlyphSide * 64.0));
    fit_to_mask(outline);
  }
  Mask mask{kMaskSide, std::vector<float>(kMaskSide * kMaskSide, 0.0f)};
  if (glyph.fill_holes)
    raster_filled(library, *outline, mask.values);
  else
    raster_into(library, outline, mask.values);
  return mask;
}

Mask halved(const Mask& mask) {
  Mask half{mask.side / 2, std::vector<float>(static_cast<size_t>(mask.side * mask.side / 4))};
  for (int64_t y = 0; y < half.side; ++y)
    for (int64_t x = 0; x < half.side; ++x) {
      const float* corner = &mask.values[2 * y * mask.side + 2 * x];
      half.values[y * half.side + x] = (corner[0] + corner[1] + corner[mask.side] + corner[mask.side + 1]) / 4;
    }
  return half;
}

}  // namespace

float Mask::at(double x, double y) const {
  const double left = std::floor(x - 0.5), top = std::floor(y - 0.5);
  const auto column = static_cast<int64_t>(left), row = static_cast<int64_t>(top);
  if (column < 0 || row < 0 || column + 1 >= side || row + 1 >= side) return 0.0f;
  const auto fx = static_cast<float>(x - 0.5 - left), fy = static_cast<float>(y - 0.5 - top);
  const float* corner = &values[row * side + column];
  const float above = corner[0] + fx * (corner[1] - corner[0]);
  const float below = corner[side] + fx * (corner[side + 1] - corner[side]);
  return above + fy * (below - above);
}

const Mask& GlyphPyramid::level_for(double pixels) const {
  for (size_t i = levels.size() - 1; i > 0; --i)
    if (static_cast<double>(levels[i].side) >= pixels) return levels[i];
  return levels.front();
}

const std::vector<std::string>& shape_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Glyph& glyph : glyph_table()) list.push_back(glyph.name);
    return list;
  }();
  return names;
}

std::vector<GlyphPyramid> load_glyphs() {
  FreeTypeLibrary library;
  FontFace symbola(library.handle, kSymbola), dejavu(library.handle, kDejaVu);
  std::vector<GlyphPyramid> pyramids;
  for (const Glyph& glyph : glyph_table()) {
    FT_Face face = glyph.font == std::string(kSymbola) ? symbola.handle : dejavu.handle;
    GlyphPyramid pyramid{{raster(library.handle, face, glyph)}};
    while (pyramid.levels.back().side > 24) pyramid.levels.push_back(halved(pyramid.levels.back()));
    pyramids.push_back(std::move(pyramid));
  }
  return pyramids;
}

}  // namespace tessera
