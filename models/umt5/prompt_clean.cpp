#include "models/umt5/prompt_clean.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "core/error.h"
#include "core/utf8.h"

namespace tessera {
namespace {

struct Entity {
  std::string_view name;
  char32_t code;
};

// clang-format off
constexpr Entity kLegacyEntities[] = {  // valid without a semicolon
    {"AElig", 0xC6}, {"AMP", 0x26}, {"Aacute", 0xC1}, {"Acirc", 0xC2}, {"Agrave", 0xC0}, {"Aring", 0xC5},
    {"Atilde", 0xC3}, {"Auml", 0xC4}, {"COPY", 0xA9}, {"Ccedil", 0xC7}, {"ETH", 0xD0}, {"Eacute", 0xC9},
    {"Ecirc", 0xCA}, {"Egrave", 0xC8}, {"Euml", 0xCB}, {"GT", 0x3E}, {"Iacute", 0xCD}, {"Icirc", 0xCE},
    {"Igrave", 0xCC}, {"Iuml", 0xCF}, {"LT", 0x3C}, {"Ntilde", 0xD1}, {"Oacute", 0xD3}, {"Ocirc", 0xD4},
    {"Ograve", 0xD2}, {"Oslash", 0xD8}, {"Otilde", 0xD5}, {"Ouml", 0xD6}, {"QUOT", 0x22}, {"REG", 0xAE},
    {"THORN", 0xDE}, {"Uacute", 0xDA}, {"Ucirc", 0xDB}, {"Ugrave", 0xD9}, {"Uuml", 0xDC}, {"Yacute", 0xDD},
    {"aacute", 0xE1}, {"acirc", 0xE2}, {"acute", 0xB4}, {"aelig", 0xE6}, {"agrave", 0xE0}, {"amp", 0x26},
    {"aring", 0xE5}, {"atilde", 0xE3}, {"auml", 0xE4}, {"brvbar", 0xA6}, {"ccedil", 0xE7}, {"cedil", 0xB8},
    {"cent", 0xA2}, {"copy", 0xA9}, {"curren", 0xA4}, {"deg", 0xB0}, {"divide", 0xF7}, {"eacute", 0xE9},
    {"ecirc", 0xEA}, {"egrave", 0xE8}, {"eth", 0xF0}, {"euml", 0xEB}, {"frac12", 0xBD}, {"frac14", 0xBC},
    {"frac34", 0xBE}, {"gt", 0x3E}, {"iacute", 0xED}, {"icirc", 0xEE}, {"iexcl", 0xA1}, {"igrave", 0xEC},
    {"iquest", 0xBF}, {"iuml", 0xEF}, {"laquo", 0xAB}, {"lt", 0x3C}, {"macr", 0xAF}, {"micro", 0xB5},
    {"middot", 0xB7}, {"nbsp", 0xA0}, {"not", 0xAC}, {"ntilde", 0xF1}, {"oacute", 0xF3}, {"ocirc", 0xF4},
    {"ograve", 0xF2}, {"ordf", 0xAA}, {"ordm", 0xBA}, {"oslash", 0xF8}, {"otilde", 0xF5}, {"ouml", 0xF6},
    {"para", 0xB6}, {"plusmn", 0xB1}, {"pound", 0xA3}, {"quot", 0x22}, {"raquo", 0xBB}, {"reg", 0xAE},
    {"sect", 0xA7}, {"shy", 0xAD}, {"sup1", 0xB9}, {"sup2", 0xB2}, {"sup3", 0xB3}, {"szlig", 0xDF}, {"thorn", 0xFE},
    {"times", 0xD7}, {"uacute", 0xFA}, {"ucirc", 0xFB}, {"ugrave", 0xF9}, {"uml", 0xA8}, {"uuml", 0xFC},
    {"yacute", 0xFD}, {"yen", 0xA5}, {"yuml", 0xFF},
};

constexpr Entity kEntities[] = {
    {"Abreve", 0x102}, {"Alpha", 0x391}, {"Amacr", 0x100}, {"Aogon", 0x104}, {"Beta", 0x392}, {"Cacute", 0x106},
    {"Ccaron", 0x10C}, {"Chi", 0x3A7}, {"Dagger", 0x2021}, {"Delta", 0x394}, {"Dstrok", 0x110}, {"Ecaron", 0x11A},
    {"Emacr", 0x112}, {"Eogon", 0x118}, {"Epsilon", 0x395}, {"Eta", 0x397}, {"Gamma", 0x393}, {"Gbreve", 0x11E},
    {"Idot", 0x130}, {"Iota", 0x399}, {"Kappa", 0x39A}, {"Lambda", 0x39B}, {"Lstrok", 0x141}, {"Mu", 0x39C},
    {"Nacute", 0x143}, {"NewLine", 0xA}, {"Nu", 0x39D}, {"OElig", 0x152}, {"Odblac", 0x150}, {"Omega", 0x3A9},
    {"Omicron", 0x39F}, {"Phi", 0x3A6}, {"Pi", 0x3A0}, {"Prime", 0x2033}, {"Psi", 0x3A8}, {"Rcaron", 0x158},
    {"Rho", 0x3A1}, {"Sacute", 0x15A}, {"Scaron", 0x160}, {"Scedil", 0x15E}, {"Sigma", 0x3A3}, {"Tab", 0x9},
    {"Tau", 0x3A4}, {"Theta", 0x398}, {"Udblac", 0x170}, {"Upsilon", 0x3A5}, {"Uring", 0x16E}, {"Xi", 0x39E},
    {"Yuml", 0x178}, {"Zacute", 0x179}, {"Zcaron", 0x17D}, {"Zdot", 0x17B}, {"Zeta", 0x396}, {"abreve", 0x103},
    {"alefsym", 0x2135}, {"alpha", 0x3B1}, {"amacr", 0x101}, {"and", 0x2227}, {"ang", 0x2220}, {"aogon", 0x105},
    {"apos", 0x27}, {"approx", 0x2248}, {"ast", 0x2A}, {"asymp", 0x2248}, {"bdquo", 0x201E}, {"beta", 0x3B2},
    {"bigstar", 0x2605}, {"breve", 0x2D8}, {"bsol", 0x5C}, {"bull", 0x2022}, {"cacute", 0x107}, {"cap", 0x2229},
    {"caron", 0x2C7}, {"ccaron", 0x10D}, {"check", 0x2713}, {"chi", 0x3C7}, {"cir", 0x25CB}, {"circ", 0x2C6},
    {"clubs", 0x2663}, {"colon", 0x3A}, {"comma", 0x2C}, {"commat", 0x40}, {"cong", 0x2245}, {"copysr", 0x2117},
    {"crarr", 0x21B5}, {"cross", 0x2717}, {"cup", 0x222A}, {"dArr", 0x21D3}, {"dagger", 0x2020}, {"darr", 0x2193},
    {"dash", 0x2010}, {"dcaron", 0x10F}, {"delta", 0x3B4}, {"diams", 0x2666}, {"dollar", 0x24}, {"dot", 0x2D9},
    {"dstrok", 0x111}, {"dtri", 0x25BF}, {"ecaron", 0x11B}, {"emacr", 0x113}, {"empty", 0x2205}, {"emsp", 0x2003},
    {"emsp13", 0x2004}, {"emsp14", 0x2005}, {"ensp", 0x2002}, {"eogon", 0x119}, {"epsilon", 0x3B5},
    {"equals", 0x3D}, {"equiv", 0x2261}, {"eta", 0x3B7}, {"euro", 0x20AC}, {"excl", 0x21}, {"exist", 0x2203},
    {"female", 0x2640}, {"fflig", 0xFB00}, {"filig", 0xFB01}, {"flat", 0x266D}, {"fllig", 0xFB02}, {"fnof", 0x192},
    {"forall", 0x2200}, {"frac13", 0x2153}, {"frac15", 0x2155}, {"frac18", 0x215B}, {"frac23", 0x2154},
    {"frac38", 0x215C}, {"frac58", 0x215D}, {"frac78", 0x215E}, {"frasl", 0x2044}, {"gamma", 0x3B3},
    {"gbreve", 0x11F}, {"ge", 0x2265}, {"grave", 0x60}, {"hArr", 0x21D4}, {"hairsp", 0x200A}, {"half", 0xBD},
    {"harr", 0x2194}, {"hearts", 0x2665}, {"hellip", 0x2026}, {"horbar", 0x2015}, {"hyphen", 0x2010},
    {"imacr", 0x12B}, {"image", 0x2111}, {"incare", 0x2105}, {"infin", 0x221E}, {"inodot", 0x131}, {"int", 0x222B},
    {"iogon", 0x12F}, {"iota", 0x3B9}, {"isin", 0x2208}, {"kappa", 0x3BA}, {"lArr", 0x21D0}, {"lambda", 0x3BB},
    {"lang", 0x27E8}, {"larr", 0x2190}, {"lbrace", 0x7B}, {"lbrack", 0x5B}, {"lceil", 0x2308}, {"lcub", 0x7B},
    {"ldquo", 0x201C}, {"le", 0x2264}, {"lfloor", 0x230A}, {"lowast", 0x2217}, {"lowbar", 0x5F}, {"loz", 0x25CA},
    {"lpar", 0x28}, {"lrm", 0x200E}, {"lsaquo", 0x2039}, {"lsqb", 0x5B}, {"lsquo", 0x2018}, {"lstrok", 0x142},
    {"ltri", 0x25C3}, {"male", 0x2642}, {"map", 0x21A6}, {"mdash", 0x2014}, {"minus", 0x2212}, {"mu", 0x3BC},
    {"nabla", 0x2207}, {"nacute", 0x144}, {"natural", 0x266E}, {"ncaron", 0x148}, {"ndash", 0x2013}, {"ne", 0x2260},
    {"ni", 0x220B}, {"notin", 0x2209}, {"nsub", 0x2284}, {"nu", 0x3BD}, {"num", 0x23}, {"numsp", 0x2007},
    {"odblac", 0x151}, {"oelig", 0x153}, {"oline", 0x203E}, {"omacr", 0x14D}, {"omega", 0x3C9}, {"omicron", 0x3BF},
    {"oplus", 0x2295}, {"or", 0x2228}, {"otimes", 0x2297}, {"part", 0x2202}, {"percnt", 0x25}, {"period", 0x2E},
    {"permil", 0x2030}, {"perp", 0x22A5}, {"phi", 0x3C6}, {"phone", 0x260E}, {"pi", 0x3C0}, {"piv", 0x3D6},
    {"plus", 0x2B}, {"prime", 0x2032}, {"prod", 0x220F}, {"prop", 0x221D}, {"psi", 0x3C8}, {"puncsp", 0x2008},
    {"quest", 0x3F}, {"rArr", 0x21D2}, {"radic", 0x221A}, {"rang", 0x27E9}, {"rarr", 0x2192}, {"rarrw", 0x219D},
    {"rbrace", 0x7D}, {"rbrack", 0x5D}, {"rcaron", 0x159}, {"rceil", 0x2309}, {"rcub", 0x7D}, {"rdquo", 0x201D},
    {"real", 0x211C}, {"rfloor", 0x230B}, {"rho", 0x3C1}, {"ring", 0x2DA}, {"rlm", 0x200F}, {"rpar", 0x29},
    {"rsaquo", 0x203A}, {"rsqb", 0x5D}, {"rsquo", 0x2019}, {"rtri", 0x25B9}, {"sacute", 0x15B}, {"sbquo", 0x201A},
    {"scaron", 0x161}, {"scedil", 0x15F}, {"sdot", 0x22C5}, {"semi", 0x3B}, {"sharp", 0x266F}, {"sigma", 0x3C3},
    {"sigmaf", 0x3C2}, {"sim", 0x223C}, {"sol", 0x2F}, {"spades", 0x2660}, {"square", 0x25A1}, {"squf", 0x25AA},
    {"star", 0x2606}, {"starf", 0x2605}, {"sub", 0x2282}, {"sube", 0x2286}, {"sum", 0x2211}, {"sung", 0x266A},
    {"sup", 0x2283}, {"supe", 0x2287}, {"tau", 0x3C4}, {"tcaron", 0x165}, {"there4", 0x2234}, {"theta", 0x3B8},
    {"thetasym", 0x3D1}, {"thinsp", 0x2009}, {"tilde", 0x2DC}, {"trade", 0x2122}, {"uArr", 0x21D1},
    {"uarr", 0x2191}, {"udblac", 0x171}, {"umacr", 0x16B}, {"upsih", 0x3D2}, {"upsilon", 0x3C5}, {"uring", 0x16F},
    {"utri", 0x25B5}, {"verbar", 0x7C}, {"vert", 0x7C}, {"weierp", 0x2118}, {"xi", 0x3BE}, {"zacute", 0x17A},
    {"zcaron", 0x17E}, {"zdot", 0x17C}, {"zeta", 0x3B6}, {"zwj", 0x200D}, {"zwnj", 0x200C},
};
// clang-format on

// What HTML5 makes of the numbers 128 to 159: Windows-1252, where it has a character.
constexpr std::array<char32_t, 32> kWindows1252 = {0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                                   0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
                                                   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                                   0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

constexpr char32_t kReplacement = 0xFFFD;

std::u32string decode_utf8(const std::string& text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const auto code = next_code_point(text, at);
    if (!code)
      throw Error("the prompt is not UTF-8 text: bad byte at position " + std::to_string(start) + " of " +
                  std::to_string(text.size()) + "; convert it to UTF-8");
    out += static_cast<char32_t>(*code);
  }
  return out;
}

std::string encode_utf8(const std::u32string& text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_noncharacter(char32_t c) {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
         (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

/// The text that a numeric reference stands for; empty for numbers that mean no character.
std::u32string numeric_character(char32_t number) {
  if (number >= 0x80 && number <= 0x9F) return {kWindows1252[number - 0x80]};
  if (number == 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return {kReplacement};
  return is_noncharacter(number) ? std::u32string() : std::u32string{number};
}

/// The number after "&#" at `at`, moving `at` beyond it and its semicolon; false when there is none.
bool read_number(const std::u32string& text, size_t& at, char32_t& number) {
  const bool hex = at < text.size() && (text[at] == U'x' || text[at] == U'X');
  size_t i = at + (hex ? 1 : 0);
  const size_t first = i;
  uint64_t value = 0;
  for (; i < text.size(); ++i) {
    const char32_t c = text[i] | 0x20;
    const bool decimal = text[i] >= U'0' && text[i] <= U'9';
    if (!decimal && !(hex && c >= U'a' && c <= U'f')) break;
    value = std::min<uint64_t>(value * (hex ? 16 : 10) + (decimal ? text[i] - U'0' : c - U'a' + 10), 0x110000);
  }
  if (i == first) return false;
  number = static_cast<char32_t>(value);
  at = i + (i < text.size() && text[i] == U';' ? 1 : 0);
  return true;
}

const std::unordered_map<std::string_view, char32_t>& entity_table(bool legacy) {
  static const auto fill = [](bool all) {
    std::unordered_map<std::string_view, char32_t> table;
    for (const auto& [name, code] : kLegacyEntities) table.emplace(name, code);
    if (all)
      for (const auto& [name, code] : kEntities) table.emplace(name, code);
    return table;
  };
  static const auto legacy_table = fill(false), full_table = fill(true);
  return legacy ? legacy_table : full_table;
}

/// The character of the named reference that begins after the "&" before `at`, moving `at` beyond it; 0 when none does.
char32_t read_name(const std::u32string& text, size_t& at) {
  constexpr size_t kLongest = 32;
  std::string name;
  size_t i = at;
  for (; i < text.size() && name.size() < kLongest && text[i] > U' ' && text[i] < 0x7F && text[i] != U';'; ++i)
    name += static_cast<char>(text[i]);
  if (i < text.size() && text[i] == U';') {
    const auto found = entity_table(false).find(name);
    if (found != entity_table(false).end()) {
      at = i + 1;
      return found->second;
    }
  }
  for (size_t length = name.size(); length > 1; --length) {
    const auto found = entity_table(true).find(std::string_view(name).substr(0, length));
    if (found == entity_table(true).end()) continue;
    at += length;
    return found->second;
  }
  return 0;
}

std::u32string unescape_html(const std::u32string& text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    out += text[i++];
    if (out.back() != U'&' || i == text.size()) continue;
    size_t after = i + (text[i] == U'#' ? 1 : 0);
    char32_t number = 0;
    std::u32string meaning;
    if (after > i) {
      if (!read_number(text, after, number)) continue;
      meaning = numeric_character(number);
    } else {
      const char32_t code = read_name(text, after);
      if (code == 0) continue;
      meaning.assign(1, code);
    }
    out.pop_back();
    out += meaning;
    i = after;
  }
  return out;
}

}  // namespace

std::string clean_prompt(const std::string& text) {
  const std::u32string plain = unescape_html(unescape_html(decode_utf8(text)));
  std::u32string out;
  bool pending = false;
  for (const char32_t c : plain) {
    if (is_space(c)) {
      pending = !out.empty();
      continue;
    }
    if (pending) out += U' ';
    pending = false;
    out += c;
  }
  return encode_utf8(out);
}

}  // namespace tessera
