"""scripts/cuda_report on what ptxas prints: a file without spills passes, one with a spill does not."""
import pathlib
import subprocess
import sys
import tempfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "cuda_report"
CLEAN = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5firstv' for 'sm_80'
ptxas info    : Function properties for _Z5firstv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 46 registers, used 1 barriers, 13824 bytes smem, 400 bytes cmem[0]
ptxas info    : Compile time = 19.405 ms
ptxas info    : Compiling entry function '_Z6secondv' for 'sm_90'
ptxas info    : Function properties for _Z6secondv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 0 barriers
"""
SPILL = CLEAN.replace("0 bytes stack frame, 0 bytes spill stores", "8 bytes stack frame, 8 bytes spill stores", 1)


def run(log):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ptxas.log"
        path.write_text(log, encoding="utf-8")
        return subprocess.run([SCRIPT, "--read", path], text=True, capture_output=True, check=False)


def check(condition, done):
    if not condition:
        sys.exit(f"unexpected: {done}")


clean = run(CLEAN)
check(clean.returncode == 0, clean)
check("sm_80" in clean.stdout and "at most  46 registers, 13824 bytes" in clean.stdout, clean)
check("sm_90" in clean.stdout and "at most  30 registers,     0 bytes" in clean.stdout, clean)
spill = run(SPILL)
check(spill.returncode == 1, spill)
check("_Z5firstv: 46 registers, 13824 shared, 8 stack, 8 spilled" in spill.stdout, spill)
check("_Z6secondv" not in spill.stdout, spill)
