#pragma once

#include <string>

namespace tessera {

/// A prompt as Wan cleans it before its tokenizer: HTML character references are resolved twice ("&amp;lt;" is "<"),
/// every run of white space (Unicode's, so no-break and ideographic spaces too) becomes one space, ends are trimmed.
///
/// Covered references, by the rules of HTML5: all numeric ones, decimal and hexadecimal, with their repairs for invalid
/// numbers (Windows-1252 for 128 to 159, U+FFFD for surrogates); all named ones of HTML 4, and the HTML5 names of ASCII
/// punctuation, Latin letters, fractions, spaces and common symbols, 388 in all; the 106 that are valid without
/// a semicolon also as the longest prefix of a name ("&notit;" is "¬it;"). Rarer names stay as they are.
/// Wan also runs ftfy's repair of mis-decoded text where that is installed; this does not.
/// Throws Error with the byte's position when `text` is not UTF-8.
/// Source: Wan2.1 tokenizers.py and diffusers pipeline_wan.py; HTML Living Standard, section 13.2.5.72 and following.
std::string clean_prompt(const std::string& text);

}  // namespace tessera
