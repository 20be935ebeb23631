"""What a machine without a network may lack: nlohmann-json's headers, on request diffusers, and the name of the commit."""

import pathlib
import re
import shutil
import subprocess
import sys

import report
from harness import ROOT, Failed, say

DEFAULT = ROOT / "build/gpu-pack"
LARGEST = 64 * 2**20  # bytes, of an upload: pack and tracked files
NOT_NEEDED = ["weights/bundled"]


def commit(folder):
    """Of this tree: what git says, else what the pack says."""
    try:
        name = report.git("rev-parse", "--short=12", "HEAD")
        changed = report.git("status", "--porcelain", "--untracked-files=no") if name else ""
        name += " with changes" if changed else ""
    except OSError:
        name = ""
    note = pathlib.Path(folder) / "commit"
    return name or (note.read_text().strip() if note.exists() else "unknown")


def nlohmann_prefix():
    """The prefix under which nlohmann-json is installed here."""
    for prefix in (pathlib.Path("/usr"), pathlib.Path("/usr/local")):
        if (prefix / "include/nlohmann/json.hpp").exists() and (prefix / "share/cmake/nlohmann_json").exists():
            return prefix
    raise Failed("nlohmann-json's headers are not installed here; scripts/setup installs them")


def add_diffusers(folder):
    """The wheel of bench/requirements.txt: pure Python, which runs on any version."""
    wanted = re.search(r"^diffusers==.*$", (ROOT / "bench/requirements.txt").read_text(), re.M)[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "-d", folder, wanted]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise Failed(f"{wanted} could not be downloaded (see pip's message above)")


def unpack_wheels(folder, target):
    """The pack's Python packages into a folder for PYTHONPATH."""
    shutil.rmtree(target, ignore_errors=True)
    for wheel in sorted(folder.glob("*.whl")):
        shutil.unpack_archive(wheel, target, "zip")


def make(folder, with_diffusers):
    shutil.rmtree(folder, ignore_errors=True)
    prefix = nlohmann_prefix()
    for part in ("include/nlohmann", "share/cmake/nlohmann_json"):
        shutil.copytree(prefix / part, folder / part)
    if with_diffusers:
        add_diffusers(folder)
    (folder / "commit").write_text(commit(folder) + "\n")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    tracked = report.git("ls-files", "-z", "--", ".", *(f":!{path}" for path in NOT_NEEDED)).split("\0")
    tree = sum((ROOT / path).lstat().st_size for path in tracked if path and (ROOT / path).exists())
    say(f"bench: {folder}: {size / 2**20:.1f} MiB, beside {tree / 2**20:.1f} MiB of tracked files without {' and '.join(NOT_NEEDED)}")
    if size + tree > LARGEST:
        raise Failed(f"pack and tracked files are larger than {LARGEST // 2**20} MiB")
    return 0
