"""Operators by Google Benchmark: every build/release/*_benchmark, its own rounds in its own process.

A benchmark called NAME whose like is called eager_NAME is compared with it; a counter FLOP/s tells how many operations it takes.
"""

import json

import harness
from harness import ROOT, Failed, say

TARGETS = {"mhla": 3.0}  # wanted of NAME/sizes, over its eager like


def measure(_python, scratch, options):
    programs = sorted(path for path in (ROOT / "build/release").glob("*_benchmark") if path.is_file())
    if not programs:
        raise Failed("no *_benchmark is built")
    found = {}
    for program in programs:
        say(f"  {program.name}")
        command = [program, "--benchmark_format=json", f"--benchmark_repetitions={options.rounds}", "--benchmark_min_time=0.2",
                   "--benchmark_enable_random_interleaving=true"]
        result = harness.run_command(command, scratch / f"{program.name}.log")
        for row in json.loads(result["output"])["benchmarks"]:
            if row["run_type"] != "iteration":
                continue
            if row.get("error_occurred"):
                raise Failed(f"{program.name}: {row['name']}: {row['error_message']}")
            unit = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[row["time_unit"]]
            name = row["run_name"].replace("/process_time", "").replace("/real_time", "")
            entry = found.setdefault(name, {"name": name, "target": TARGETS.get(name.split("/")[0]), "seconds": [], "cpu_seconds": []})
            entry["seconds"].append(row["real_time"] * unit)
            entry["cpu_seconds"].append(row["cpu_time"] * unit)
            if "FLOP/s" in row:
                entry["flops"] = round(row["FLOP/s"] * row["real_time"] * unit)
    return {"contenders": [], "operators": list(found.values())}


PARTS = [("operators", "Operators", measure)]
