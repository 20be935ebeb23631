"""Writes N photograph-like JPEGs: several octaves of smooth color noise, a light gradient and a few soft shapes.

Usage: make_images.py FOLDER COUNT [--seed S] [--size 256] [--texture 1.0]
Needs numpy and Pillow. The same arguments give the same pictures; the time goes to neither tool that is measured.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image


def picture(rng, size, texture):
    """[size, size, 3] float in 0..255."""
    total = np.zeros((size, size, 3), np.float32)
    for octave in range(1, 7):
        cells = 2**octave + 1
        grid = Image.fromarray((rng.random((cells, cells, 3)) * 255).astype(np.uint8))
        layer = np.asarray(grid.resize((size, size), Image.BICUBIC), np.float32) - 127.5
        total += layer * (texture if octave > 3 else 1.0) / 1.6**octave
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    direction = rng.normal(size=2)
    total += ((x * direction[0] + y * direction[1]) * 40)[..., None] + rng.uniform(90, 165, 3)
    for _ in range(rng.integers(2, 6)):
        center, radius = rng.random(2), rng.uniform(0.05, 0.3)
        distance = np.hypot((x - center[0]) * rng.uniform(0.5, 2), y - center[1])
        cover = np.clip((radius - distance) * size / 3, 0, 1)[..., None]
        total = total * (1 - 0.8 * cover) + 0.8 * cover * rng.uniform(0, 255, 3)
    return np.clip(total + rng.normal(0, 3, total.shape), 0, 255)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--texture", type=float, default=1.0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for index in range(options.count):
        rng = np.random.default_rng([options.seed, index])
        pixels = picture(rng, options.size, options.texture).astype(np.uint8)
        Image.fromarray(pixels).save(options.folder / f"{index:06d}.jpg", quality=92)


if __name__ == "__main__":
    main()
