"""scripts/setup with a lock file of small wheels and a pip that may fail: what is kept, fetched again, refused and said."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
NAMES = ["nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm"]
PYTHON = """#!/bin/sh
# python3 -m pip download ... -r WANTED -d FOLDER: notes the name, and copies the wheel unless it is the one that fails.
while [ $# -gt 0 ]; do case "$1" in -r) wanted=$2 ;; -d) folder=$2 ;; esac; shift; done
name=$(sed 's/==.*//; s/-/_/g' "$wanted")
echo "$name" >>"$LOG"
[ "$name" != "$FAILS" ] || exit 1
cp "$WHEELS/$name"-1.0-py3-none-any.whl "$folder"
"""


def fail(text):
    sys.exit(f"setup_test: {text}")


class Machine:
    """A folder with scripts/setup, its lock file, and the programs that it calls."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.cache = self.folder / "cache"
        self.log = self.folder / "log"
        for name in ("bin", "wheels", "scripts"):
            (self.folder / name).mkdir()
        shutil.copy(SCRIPTS / "setup", self.folder / "scripts" / "setup")
        lock = ["# a comment"]
        for name in NAMES:
            wheel = self.folder / "wheels" / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr("nvidia/cu13/lib/" + name, name)
                if name == NAMES[0]:
                    archive.writestr("nvidia/cu13/bin/nvcc", "")
            lock.append(f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
        (self.folder / "scripts" / "nvcc.lock").write_text("\n".join(lock) + "\n", encoding="utf-8")
        (self.folder / "scripts" / "libtorch.lock").write_text("torch==9.9 --hash=sha256:0\n", encoding="utf-8")
        torch = self.cache / "libtorch-9.9-cpu"
        torch.mkdir(parents=True)
        (torch / ".complete").touch()
        self.program("python3", PYTHON)
        self.program("dpkg-query", "#!/bin/sh\necho install ok installed\n")

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def run(self, *options, fails=""):
        """The finished process, and the names that pip was asked for."""
        self.log.write_text("", encoding="utf-8")
        environment = dict(os.environ, PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}", TESSERA_CACHE=str(self.cache),
                           LOG=str(self.log), FAILS=fails, WHEELS=str(self.folder / "wheels"))
        done = subprocess.run([self.folder / "scripts" / "setup", *options], text=True, capture_output=True, check=False,
                              env=environment)
        return done, self.log.read_text(encoding="utf-8").split()


def main():
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(folder)
        nvcc = machine.cache / "nvcc-1.0"
        downloads = machine.cache / "downloads"

        done, asked = machine.run("--nvcc", fails="nvidia_cuda_crt")
        if done.returncode == 0 or asked != ["nvidia_cuda_nvcc", "nvidia_cuda_crt"] or nvcc.exists():
            fail(f"an interrupted download: {done}, {asked}")
        if "what came before it is kept" not in done.stderr:
            fail(f"it does not say what is kept: {done.stderr}")

        kept = downloads / "nvidia_cuda_crt-1.0-py3-none-any.whl"
        kept.write_bytes(b"half of a wheel")
        done, asked = machine.run("--nvcc")
        if done.returncode != 0 or asked != ["nvidia_cuda_crt", "nvidia_nvvm"]:
            fail(f"the second run: {done}, {asked}")
        if done.stdout.splitlines() != [str(machine.cache / "libtorch-9.9-cpu")]:
            fail(f"want LibTorch's folder alone on stdout, got {done.stdout!r}")
        if sorted(p.name for p in (nvcc / "nvidia/cu13/lib64").iterdir()) != sorted(NAMES) or list(downloads.glob("*.whl")):
            fail(f"what is unpacked, or left: {list(nvcc.rglob('*'))}, {list(downloads.iterdir())}")

        done, asked = machine.run("--nvcc")
        if done.returncode != 0 or asked:
            fail(f"nothing is left to do: {done}, {asked}")

        shutil.rmtree(nvcc)
        (machine.folder / "wheels" / "nvidia_nvvm-1.0-py3-none-any.whl").write_bytes(b"another file")
        done, _ = machine.run("--nvcc")
        if done.returncode == 0 or "nvidia-nvvm==1.0" not in done.stderr or "hash" not in done.stderr or nvcc.exists():
            fail(f"a wheel with another hash: {done}")

        machine.program("df", "#!/bin/sh\nprintf 'header\\ndisk 100 90 10 90%% /\\n'\n")
        done, asked = machine.run("--nvcc")
        if done.returncode == 0 or asked or "needs 500 MB" not in done.stderr or "has 10 MB free" not in done.stderr:
            fail(f"a full disk: {done}")

        done, _ = machine.run("--cud")
        if done.returncode == 0 or "unknown option --cud" not in done.stderr:
            fail(f"an unknown option: {done}")


if __name__ == "__main__":
    main()
