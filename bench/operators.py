"""Operators by Google Benchmark: every build/release/*_benchmark, its own rounds in its own process.

A benchmark called NAME whose like is called eager_NAME is compared with it.
"""

import json

import harness
from harness import ROOT, Failed, say


def measure(_python, scratch, options):
    programs = sorted(path for path in (ROOT / "build/release").glob("*_benchmark") if path.is_file())
    if not programs:
        raise Failed("no *_benchmark is built")
    found = {}
    for program in programs:
        say(f"  {program.name}")
        result = harness.run_command([program, "--benchmark_format=json", f"--benchmark_repetitions={options.rounds}",
                                      "--benchmark_enable_random_interleaving=true"], scratch / f"{program.name}.log")
        for row in json.loads(result["output"])["benchmarks"]:
            if row["run_type"] != "iteration":
                continue
            if row.get("error_occurred"):
                raise Failed(f"{program.name}: {row['name']}: {row['error_message']}")
            unit = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[row["time_unit"]]
            entry = found.setdefault(row["run_name"], {"name": row["run_name"], "seconds": [], "cpu_seconds": []})
            entry["seconds"].append(row["real_time"] * unit)
            entry["cpu_seconds"].append(row["cpu_time"] * unit)
    return {"contenders": [], "operators": list(found.values())}


PARTS = [("operators", "Operators", measure)]
