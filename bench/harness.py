"""Processes that are measured in turn: networks that wait for their turn with their weights loaded, and whole commands."""

import collections
import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tessera"
THREADS = 2  # of everyone; --threads sets it
LONGEST_TURN = 1800  # seconds
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A contender that could not be measured."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def python():
    """The Python of bench/requirements.txt, made anew when the requirements have changed."""
    given = os.environ.get("TESSERA_BENCH_PYTHON")
    if given:
        return given
    folder, wanted = CACHE / "bench-python", (ROOT / "bench/requirements.txt").read_text()
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"bench: installing the peers into {folder} (5 GB)")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                        ROOT / "bench/requirements.txt"], check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return str(folder / "bin/python")


def settings():
    """Environment of everything that is measured."""
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error", "TQDM_DISABLE": "1",
             "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    return os.environ | quiet | {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}


def pinned(command):
    """The command on the first cores, as many as it has threads."""
    cores = sorted(os.sched_getaffinity(0))[:THREADS]
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


def last_line(path):
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "no message"


class Worker:
    """A process that answers lines of JSON on stdout; see bench/serve.h."""

    def __init__(self, command, log, environment=None):
        self.log = pathlib.Path(log)
        with open(self.log, "w") as errors:
            self.process = subprocess.Popen(pinned(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                                            env=settings() | (environment or {}), cwd=ROOT)

    def answer(self):
        if not select.select([self.process.stdout], [], [], LONGEST_TURN)[0]:
            self.process.kill()
            raise Failed(f"no answer in {LONGEST_TURN} seconds")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise Failed(f"exit {code}: {last_line(self.log)}")
        found = json.loads(line)
        if "error" in found:
            raise Failed(found["error"])
        return found

    def ask(self, request):
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer tells why
        return self.answer()

    def close(self):
        """Its peak memory, None when it has died."""
        try:
            return self.ask("quit")["peak_bytes"]
        except Failed:
            return None
        finally:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()


def turn(worker, entry, request):
    """The answer to a request (None: to being started); None from a worker that fails now or has failed before."""
    if "error" in entry:
        return None
    try:
        return worker.ask(request) if request else worker.answer()
    except Failed as error:
        entry["error"] = str(error)
        say(f"  {entry['label']}: {error}")
        return None


def run_command(command, log, environment=None, watch=None):
    """Runs a command to its end: wall seconds, processor seconds, peak bytes, output. `watch(pid)` is called 20 times a second."""
    log = pathlib.Path(log)
    with open(log, "w") as errors, open(log.with_suffix(".out"), "w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(pinned(command), stdout=output, stderr=errors, env=settings() | (environment or {}), cwd=ROOT)
        if watch:
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                watch(process.pid)
                time.sleep(0.05)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise Failed(f"exit {process.returncode}: {last_line(log)}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024, "output": text}


def process_seconds(pid):
    """Processor seconds of a running process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


Load = collections.namedtuple("Load", "time busy own")


def load():
    """What the machine and this program with its ended children have computed so far, in processor seconds."""
    user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return Load(time.time(), (user + nice + system + irq + softirq + steal) / TICK, sum(os.times()[:4]))


def others(before, after):
    """Cores that other work (or the host) kept busy in between, on average."""
    return max(0.0, (after.busy - before.busy - (after.own - before.own)) / (after.time - before.time))
