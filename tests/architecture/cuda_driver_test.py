"""What scripts/cuda_driver says of no driver, a stub, an old driver, no GPU, and one that is there. Needs a C compiler."""
import os
import pathlib
import subprocess
import sys
import tempfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "cuda_driver"
DRIVER = """int cuInit(unsigned flags) { return flags ? -1 : %d; }
int cuDriverGetVersion(int* version) { *version = %d; return 0; }
int cuDeviceGetCount(int* count) { *count = %d; return 0; }
"""
CASES = [  # cuInit, version, devices, exit code, what it says
    (34, 13000, 1, 1, "stub"),
    (35, 12040, 1, 1, "too old"),
    (803, 12040, 1, 1, "too old"),
    (100, 13000, 0, 1, "no GPU"),
    (999, 13000, 1, 1, "does not start (error 999)"),
    (0, 12090, 1, 1, "it has CUDA 12.9"),
    (0, 13000, 0, 1, "no GPU"),
    (0, 13000, 1, 0, "driver and GPU are there"),
    (0, 13010, 2, 0, "driver and GPU are there"),
]


def check(folder, code, text):
    done = subprocess.run([SCRIPT], text=True, capture_output=True, check=False,
                          env=dict(os.environ, LD_LIBRARY_PATH=folder))
    if done.returncode != code or text not in done.stderr or done.stderr.count("\n") != 1 or done.stdout:
        sys.exit(f"want exit code {code} and one line with {text!r}, got: {done}")


with tempfile.TemporaryDirectory() as folder:
    library = pathlib.Path(folder) / "libcuda.so.1"
    for status, version, devices, code, text in CASES:
        source = pathlib.Path(folder) / "driver.c"
        source.write_text(DRIVER % (status, version, devices), encoding="utf-8")
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source], check=True)
        check(folder, code, text)
    library.write_bytes(b"not a library")
    check(folder, 1, "cannot be loaded")
