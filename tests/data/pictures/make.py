"""Makes the pictures beside it: formats that have no decoder library of their own here, and as NAME.EXT.png the pixels that Pillow's
convert("RGB") gives of each. Run: python make.py (Pillow 12). What Pillow does not write is written here byte by byte."""

import pathlib
import random
import struct

from PIL import Image

FOLDER = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 13, 9


def scene():
    random.seed(3)
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            picture.putpixel((x, y), (x * 19 % 256, (y * 27 + x) % 256, random.randrange(256)))
    return picture


def bmp(bits, compression, pixels, palette=b"", masks=b""):
    """A BMP of 40 header bytes; pixels as stored, from the bottom row up."""
    offset = 54 + len(masks) + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, compression, len(pixels), 2835, 2835, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + masks + palette + pixels


def sixteen_bit_bmp(rgb, pack, compression=0, masks=b""):
    rows = b""
    for y in reversed(range(HEIGHT)):
        row = b"".join(struct.pack("<H", pack(*rgb.getpixel((x, y)))) for x in range(WIDTH))
        rows += row + b"\0" * (-len(row) % 4)
    return bmp(16, compression, rows, masks=masks)


def run_length_bmp(gray):
    rows = b""
    for y in reversed(range(HEIGHT)):
        rows += b"".join(bytes([1, gray.getpixel((x, y))]) for x in range(WIDTH)) + b"\0\0"
    return bmp(8, 1, rows + b"\0\1", palette=b"".join(bytes([i, i, i, 0]) for i in range(256)))


def text_pnm(picture, kind, most):
    values = [v * most // 255 for v in picture.tobytes()]
    return f"{kind}\n# a comment\n{WIDTH} {HEIGHT}\n{most}\n".encode() + " ".join(map(str, values)).encode() + b"\n"


def psd(rgb):
    planes = b"".join(band.tobytes() for band in rgb.split())
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, HEIGHT, WIDTH, 8, 3) + b"\0" * 12 + b"\0\0" + planes


def main():
    rgb = scene()
    gray, alpha = rgb.convert("L"), rgb.copy()
    alpha.putalpha(rgb.split()[2])
    rgb.save(FOLDER / "rgb.bmp")
    alpha.save(FOLDER / "alpha.bmp")
    gray.save(FOLDER / "gray.bmp")
    rgb.quantize(9).save(FOLDER / "palette.bmp")
    gray.convert("1").save(FOLDER / "one_bit.bmp")
    (FOLDER / "run_length.bmp").write_bytes(run_length_bmp(gray))
    (FOLDER / "rgb555.bmp").write_bytes(sixteen_bit_bmp(rgb, lambda r, g, b: r >> 3 << 10 | g >> 3 << 5 | b >> 3))
    (FOLDER / "rgb565.bmp").write_bytes(
        sixteen_bit_bmp(rgb, lambda r, g, b: r >> 3 << 11 | g >> 2 << 5 | b >> 3, 3, struct.pack("<III", 0xF800, 0x7E0, 0x1F)))
    rgb.save(FOLDER / "rgb.ppm")
    gray.save(FOLDER / "gray.pgm")
    (FOLDER / "text.ppm").write_bytes(text_pnm(rgb, "P3", 255))
    (FOLDER / "text.pgm").write_bytes(text_pnm(gray, "P2", 255))
    (FOLDER / "few_levels.pgm").write_bytes(b"P5\n%d %d\n15\n" % (WIDTH, HEIGHT) + bytes(v >> 4 for v in gray.tobytes()))
    (FOLDER / "deep.pgm").write_bytes(
        b"P5\n%d %d\n65535\n" % (WIDTH, HEIGHT) + b"".join(struct.pack(">H", 2 * v) for v in gray.tobytes()))
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"):
        rgb.save(FOLDER / f"{compression}.tif", compression=compression)
    gray.convert("1").save(FOLDER / "one_bit.tif")
    rgb.quantize(9).save(FOLDER / "palette.tif")
    rgb.quantize(31).save(FOLDER / "first.gif", save_all=True, append_images=[gray])
    rgb.save(FOLDER / "rgb.tga")
    alpha.save(FOLDER / "alpha_run_length.tga", compression="tga_rle")
    gray.save(FOLDER / "gray.tga")
    (FOLDER / "rgb.psd").write_bytes(psd(rgb))
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in (".py", ".png"):
            continue
        with Image.open(path) as picture:
            picture.convert("RGB").save(FOLDER / (path.name + ".png"))


main()
