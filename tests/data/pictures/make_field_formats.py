"""Makes pictures as scanners, cameras and programs write them (TIFF in all its kinds, AVIF, rarer BMP, PNM and PFM), and as NAME.EXT.png
the pixels that Pillow's convert("RGB") gives of each. Pillow reads no HEIC: lossy/gradient.heic is (4 x, 5 y, 128) at (x, y).
Run: python make_field_formats.py (Pillow 13, tifffile, imagecodecs, and heif-enc of libheif-examples)."""

import pathlib
import struct
import subprocess
import tempfile

import numpy as np
import tifffile
from PIL import Image

FOLDER = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 21, 18


def scene():
    """RGBA pixels with smooth and sharp parts."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH))
    planes = [x * 12 % 256, y * 14 % 256, np.where(y < 6, noise, x * y % 256), (x + y) * 6 % 256]
    return np.stack(planes, -1).astype(np.uint8)


def tiffs(rgba):
    """Keyword arguments of tifffile.imwrite by name."""
    rgb, gray, wide = rgba[..., :3], rgba[..., 1], rgba.astype(np.uint16) * 257
    planes, deep = np.moveaxis(rgb, -1, 0), np.moveaxis(wide[..., :3], -1, 0)
    ink = np.dstack([rgb, 255 - rgb[..., 0]])
    kinds = {
        "tiled": dict(data=rgb, tile=(16, 16)),
        "tiled_lzw": dict(data=rgb, tile=(16, 16), compression="lzw", predictor=True),
        "planar": dict(data=planes, planarconfig="separate"),
        "planar_deflate": dict(data=planes, planarconfig="separate", compression="deflate", rowsperstrip=5),
        "planar_tiled": dict(data=planes, planarconfig="separate", tile=(16, 16)),
        "planar_16_lzw": dict(data=deep, planarconfig="separate", compression="lzw"),
        "big": dict(data=rgb, bigtiff=True),
        "strips": dict(data=rgb, rowsperstrip=4, compression="zstd"),
        "rgb_16": dict(data=wide[..., :3]),
        "rgb_16_big_endian": dict(data=wide[..., :3], byteorder=">", compression="deflate", predictor=True),
        "alpha": dict(data=rgba, extrasamples=["unassalpha"]),
        "multiplied": dict(data=rgba, extrasamples=["assocalpha"]),
        "multiplied_16": dict(data=wide, extrasamples=["assocalpha"], compression="lzw"),
        "spare_channel": dict(data=rgba, extrasamples=["unspecified"]),
        "pages": dict(data=np.stack([rgb, rgb[::-1]])),
        "jpeg": dict(data=rgb, compression="jpeg", compressionargs={"level": 80}),
        "cmyk": dict(data=ink, photometric="separated"),
        "cmyk_16": dict(data=ink.astype(np.uint16) * 200, photometric="separated", byteorder=">"),
        "gray_alpha": dict(data=rgba[..., 1::2], photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
        "colors_256": dict(data=gray, photometric="palette", colormap=np.arange(768).reshape(3, 256).astype(np.uint16) * 85),
    }
    for name, samples in {
        "white_is_0": gray, "gray_16": gray.astype(np.uint16) * 2, "gray_16_signed": gray.astype(np.int16) * 2 - 90,
        "gray_32": gray.astype(np.uint32) * 2, "gray_32_signed": gray.astype(np.int32) * 2 - 90,
        "gray_float": gray.astype(np.float32) * 1.7 - 60, "bits": gray > 99,
    }.items():
        kinds[name] = dict(data=samples, photometric="miniswhite" if name == "white_is_0" else "minisblack")
    kinds["gray_16_big_endian"] = dict(data=gray.astype(np.uint16) * 2, photometric="minisblack", byteorder=">")
    kinds["gray_float_big_endian"] = dict(data=gray.astype(np.float32), photometric="minisblack", byteorder=">")
    for bits in (2, 4, 12):
        kinds[f"gray_{bits}"] = dict(data=gray.astype(np.uint16) if bits > 8 else gray >> 8 - bits, bitspersample=bits, photometric="minisblack")
    for name, subsampling in {"ycbcr": (1, 1), "ycbcr_420": (2, 2)}.items():
        kinds[name] = dict(data=rgb, photometric="ycbcr", subsampling=subsampling, compression="jpeg", compressionargs={"level": 80})
    kinds["lab"] = dict(data=rgb, photometric="cielab")
    for orientation in range(2, 9):
        kinds[f"turned_{orientation}"] = dict(data=rgb, extratags=[(274, "H", 1, orientation, True)])
    return kinds


def bmp(bits, compression, pixels, palette=b"", masks=b"", height=HEIGHT):
    """A BMP of 40 header bytes; pixels as stored."""
    offset = 54 + len(masks) + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, len(pixels), 2835, 2835, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + masks + palette + pixels


def padded(row):
    return row + b"\0" * (-len(row) % 4)


def bmps(rgba):
    bgr, four = rgba[..., 2::-1], rgba[..., 1] >> 4
    palette = b"".join(bytes([i * 16, 255 - i * 9, i * 3, 0]) for i in range(16))
    pairs = [row.tobytes() + b"\0" * (WIDTH % 2) for row in four]
    packed = [padded(bytes(a << 4 | b for a, b in zip(row[::2], row[1::2]))) for row in pairs]
    literal = b""
    for row in pairs:  # 5 of one color, a literal run of 12, the last 4 as two runs
        words = bytes(a << 4 | b for a, b in zip(row[5:17:2], row[6:17:2]))
        literal += bytes([5, row[0] << 4 | row[0], 0, 12]) + words + bytes([2, row[17] * 17, 2, row[19] << 4 | row[20], 0, 0])
    return {
        "top_down": bmp(24, 0, b"".join(padded(row.tobytes()) for row in bgr), height=-HEIGHT),
        "colors_16": bmp(4, 0, b"".join(packed), palette),
        "run_length_4": bmp(4, 2, literal + b"\0\1", palette),
        "fields_32": bmp(32, 3, np.ascontiguousarray(rgba[..., ::-1]).tobytes(), masks=struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00)),
        "os2": b"BM" + struct.pack("<IHHI", 26 + 48 + sum(map(len, packed)), 0, 0, 26 + 48) + struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 4)
        + b"".join(palette[i:i + 3] for i in range(0, 64, 4)) + b"".join(packed),
    }


def pnms(rgba):
    rgb, gray = rgba[..., :3].astype(np.int64), rgba[..., 1].astype(np.int64)
    bits = gray > 99
    size = f"{WIDTH} # a comment\n{HEIGHT}\n"
    return {
        "levels_100.pgm": f"P5\n{size}100\n".encode() + (gray * 100 // 255).astype(np.uint8).tobytes(),
        "levels_1000.pgm": f"P5\n{size}1000\n".encode() + (gray // 9).astype(">u2").tobytes(),
        "levels_1000.ppm": f"P6\n{size}1000\n".encode() + (rgb * 1000 // 255).astype(">u2").tobytes(),
        "levels_100_text.ppm": f"P3\n{size}100\n{' '.join(map(str, (rgb * 100 // 255).ravel()))}\n".encode(),
        "bits.pbm": f"P4\n{size}".encode() + np.packbits(bits, axis=1).tobytes(),
        "bits_text.pbm": f"P1\n{size}{''.join(map(str, bits.astype(int).ravel()))}\n".encode(),
        "float.pfm": f"Pf\n{WIDTH} {HEIGHT}\n-1.0\n".encode() + (gray * 1.7 - 60).astype("<f4").tobytes(),
        "float_big_endian.pfm": f"Pf\n{WIDTH} {HEIGHT}\n1.0\n".encode() + gray.astype(">f4").tobytes(),
    }


def write_heic(path):
    y, x = np.mgrid[:48, :64]
    path.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".png") as png:
        Image.fromarray(np.stack([4 * x, 5 * y, 0 * x + 128], -1).astype(np.uint8)).save(png.name)
        subprocess.run(["heif-enc", "-q", "90", "-o", str(path), png.name], check=True)


def main():
    rgba = scene()
    made = []
    for name, kind in tiffs(rgba).items():
        made.append(FOLDER / f"{name}.tif")
        rgb = kind["data"].shape[-1] in (3, 4) or kind["data"].shape[0] == 3
        tifffile.imwrite(made[-1], **{"photometric": "rgb" if rgb else None, "software": False, "metadata": None, **kind})
    bits = Image.fromarray(rgba[..., 1] > 99)
    for compression in ("group3", "group4", "tiff_ccitt"):
        made.append(FOLDER / f"{compression}.tif")
        bits.save(made[-1], compression=compression)
    made.append(FOLDER / "ycbcr_raw.tif")
    Image.fromarray(rgba[..., :3]).convert("YCbCr").save(made[-1])
    for name, content in bmps(rgba).items():
        made.append(FOLDER / f"{name}.bmp")
        made[-1].write_bytes(content)
    for name, content in pnms(rgba).items():
        made.append(FOLDER / name)
        made[-1].write_bytes(content)
    for name, picture in {"rgb": Image.fromarray(rgba[..., :3]), "alpha": Image.fromarray(rgba)}.items():
        made.append(FOLDER / f"{name}.avif")
        picture.save(made[-1], quality=70)
    for path in made:
        with Image.open(path) as picture:
            picture.convert("RGB").save(FOLDER / (path.name + ".png"))
    write_heic(FOLDER / "lossy" / "gradient.heic")
    print(len(made), "pictures")


main()
