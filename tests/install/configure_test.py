"""Configuring looks and installs nothing: without LibTorch it fails with one message, and it never calls a package manager.

Usage: configure_test.py SOURCE_FOLDER LIBTORCH_FOLDER
"""
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE, LIBTORCH = sys.argv[1], sys.argv[2]
INSTALLERS = ("apt-get", "apt", "dpkg-query", "dpkg", "sudo", "pip", "pip3")


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def fake_installers(folder, calls):
    """Programs that note that they were called, and fail."""
    folder.mkdir()
    for name in INSTALLERS:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\nexit 1\n')
        path.chmod(0o755)


def configure(temporary, *definitions, build="build"):
    """A configure run on a machine that has neither LibTorch's cache nor a Debian package, as far as it can tell."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TESSERA_", "XDG_"))}
    environment.update(PATH=f"{temporary / 'bin'}:{environment['PATH']}", HOME=str(temporary))
    return subprocess.run(["cmake", "-S", SOURCE, "-B", temporary / build, "-G", "Ninja", *definitions],
                          env=environment, capture_output=True, text=True)


def main():
    with tempfile.TemporaryDirectory() as name:
        temporary = pathlib.Path(name)
        calls = temporary / "calls"
        fake_installers(temporary / "bin", calls)
        without = configure(temporary)
        expect(not calls.exists(), f"configuring without LibTorch called: {calls.exists() and calls.read_text()}")
        expect(without.returncode != 0, "configuring without LibTorch succeeded")
        expect(f"{temporary}/.cache/tessera" in without.stderr, f"it does not say where it looked:\n{without.stderr}")
        expect("run scripts/setup" in without.stderr, f"it does not say what to do:\n{without.stderr}")
        expect(without.stderr.count("CMake Error") == 1, f"it is not one message:\n{without.stderr}")
        given = configure(temporary, f"-DTESSERA_LIBTORCH={LIBTORCH}", "-DBUILD_TESTING=OFF",
                          "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON")
        expect(given.returncode == 0, f"configuring with LibTorch failed:\n{given.stderr}")
        expect(not calls.exists(), f"configuring with LibTorch called: {calls.exists() and calls.read_text()}")
        bench = configure(temporary, f"-DTESSERA_LIBTORCH={LIBTORCH}", "-DTESSERA_BENCH_GPU_ONLY=ON",
                          *(f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("PkgConfig", "CLI11", "GTest")), build="bench")
        expect(bench.returncode == 0, f"bench/gpu cannot be configured without the program's libraries:\n{bench.stderr}")
        rules = (temporary / "bench" / "build.ninja").read_text()
        wanted = [name for name in ("crypto", "sentencepiece", "minizip", "yaml", "avcodec", "libz") if name in rules]
        expect(not wanted, f"bench/gpu links {wanted}")
    print("9 checks passed")


if __name__ == "__main__":
    main()
