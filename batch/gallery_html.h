#pragma once

#include <string_view>

namespace tessera {

/// pipelines/gallery.html, built into the program; "<!--data-->" in it stands for the JSON that the page shows.
std::string_view gallery_html();

}  // namespace tessera
