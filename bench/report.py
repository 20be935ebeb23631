"""results.json, and the table and the plot that are made from it."""

import datetime
import html
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import harness
from harness import ROOT

NOISY = 0.1  # cores that others used, on average, from which on a part is marked
HEAD = """# Speed

Measured by `bench/peers`; this page and the plot are made from `results.json` beside them (`bench/peers --check` tells whether they still
are). In a part everyone computes the same shapes with the same random weights, and takes a turn in every round of one run, with as many
threads on the same cores and weights in memory. "CPU" is the processor time of all threads. GFLOP/s are the operations of the plain
algorithm (a convolution without Winograd's saving) by the least time. "Of product" is the share of the rate that a 2048x2048x2048
bf16 product of torch reached in the same rounds, by CPU time; it passes 100% where an algorithm needs fewer operations or int8 has
the higher rate. "Difference" is the norm of the difference from the peer's result over the norm of that. tessera's video
transformer is called as its sampler does. Ratios are the peer's minimum over tessera's.

Machine: {cpu}, {cores} cores, {memory} GiB, {features}. Versions: {versions}.

![ratios](ratios.svg)
"""


def git(*words):
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()


def machine(python):
    """What is said of all."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*:(.*)$", info, re.M)[1].split()
    names = [name for name in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8") if name in flags]
    packages = ["torch", "diffusers", "transformers", "pytorch-fid"]
    script = "import importlib.metadata as m, sys; print(*[m.version(name) for name in sys.argv[1:]])"
    versions = subprocess.run([python, "-c", script, *packages], capture_output=True, text=True, check=True).stdout.split()
    ours = subprocess.run([ROOT / "build/release/tessera", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    return {"cpu": re.search(r"^model name\s*:\s*(.*)$", info, re.M)[1], "cores": os.cpu_count(),
            "memory": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30), "features": ", ".join(names),
            "versions": {"tessera": ours} | dict(zip(packages, versions))}


def run(options):
    """What is said of a part's run."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!docs")
    return {"date": datetime.date.today().isoformat(), "commit": git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else ""),
            "threads": harness.THREADS, "rounds": options.rounds, "layers": options.layers}


def read(folder):
    path = folder / "results.json"
    return json.loads(path.read_text()) if path.exists() else {"parts": {}}


def errors(part):
    return [part["error"]] if "error" in part else [entry["error"] for entry in part["contenders"] if "error" in entry]


def one_round(entries):
    """A line for the terminal: the last seconds of everyone."""
    return ", ".join(f"{entry['label']} {entry['dtype']} {entry['seconds'][-1]:.2f} s" for entry in entries if entry["seconds"])


def least(entry, key):
    values = [value for value in entry.get(key, []) if value is not None]
    return min(values) if values else None


def middle(entry, key):
    values = [value for value in entry.get(key, []) if value is not None]
    return statistics.median(values) if values else None


def peer_of(part, entry):
    """What an entry is compared with, None for the peer itself."""
    if "operators" in part:
        return next((other for other in part["operators"] if other["name"] == "eager_" + entry["name"]), None)
    peer = part["contenders"][0]
    return peer if entry["program"] == "tessera" and peer["program"] == "peer" else None


def ratio(part, entry, key):
    """How many times the peer's minimum is tessera's; None for the peer and where one is missing."""
    peer = peer_of(part, entry)
    ours, theirs = least(entry, key), peer and least(peer, key)
    return theirs / ours if ours and theirs else None


def rate(part, entry, key):
    """Operations a second; of processor time, a second of each thread."""
    seconds = least(entry, key)
    if not seconds or not entry.get("flops"):
        return None
    return entry["flops"] / seconds * (part["threads"] if key == "cpu_seconds" else 1)


def shown(value, form, factor=1.0):
    return "" if value is None else form.format(value * factor)


def counted(number, thing):
    return f"{number} {thing}{'' if number == 1 else 's'}"


def digits(seconds):
    """Three significant ones."""
    if seconds is None:
        return ""
    return f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}"


def fair_ratio(part, entry):
    """By the clock, or by processor time where other work disturbed the clock."""
    return ratio(part, entry, "cpu_seconds" if part["other_cores"] >= NOISY else "seconds")


def verdict(part, entry):
    """The target, and whether it is reached."""
    target, reached = entry.get("target"), fair_ratio(part, entry)
    if target is None or not peer_of(part, entry):
        return ""
    return f"{target}x: " + ("?" if reached is None else "yes" if reached >= target else "no")


def network_row(part, entry):
    product = rate(part, part["product"], "cpu_seconds")
    own = rate(part, entry, "cpu_seconds")
    name = entry["label"] + (f" ({entry['dtype']})" if entry.get("dtype") else "")
    if "error" in entry:
        return [name, f"failed: {entry['error']}"] + [""] * 8
    difference = entry.get("difference")
    return [name, f"{digits(least(entry, 'seconds'))} / {digits(middle(entry, 'seconds'))}", digits(least(entry, "cpu_seconds")),
            shown(rate(part, entry, "seconds"), "{:.0f}", 1e-9), shown(own and product and own / product, "{:.0%}"),
            shown(entry.get("peak_bytes"), "{:.2f}", 2.0**-30), shown(ratio(part, entry, "seconds"), "{:.2f}x"),
            shown(ratio(part, entry, "cpu_seconds"), "{:.2f}x"), verdict(part, entry), shown(difference, "{:.1e}")]


def command_row(part, entry):
    name = entry["label"] + (f" ({entry['dtype']})" if entry.get("dtype") else "")
    if "error" in entry:
        return [name, f"failed: {entry['error']}"] + [""] * 6
    batch = entry.get("batch")
    pace = shown(batch and batch / least(entry, "seconds"), "{:.1f} " + entry.get("things", "") + "/s")
    return [name, f"{digits(least(entry, 'seconds'))} / {digits(middle(entry, 'seconds'))}", digits(least(entry, "cpu_seconds")),
            shown(entry.get("peak_bytes"), "{:.2f}", 2.0**-30), pace, shown(ratio(part, entry, "seconds"), "{:.2f}x"),
            shown(ratio(part, entry, "cpu_seconds"), "{:.2f}x"), shown(entry.get("difference"), "{:.1e}")]


def operator_row(part, entry):
    return [f"`{entry['name']}`", f"{1e3 * least(entry, 'seconds'):.2f} / {1e3 * middle(entry, 'seconds'):.2f}",
            f"{1e3 * least(entry, 'cpu_seconds'):.2f}", shown(rate(part, entry, "seconds"), "{:.0f}", 1e-9),
            shown(ratio(part, entry, "seconds"), "{:.2f}x"), shown(ratio(part, entry, "cpu_seconds"), "{:.2f}x"), verdict(part, entry)]


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def section(part):
    text = f"\n## {part['title']}" + (f", {part['layers']} of 30 layers" if "Wan 1.3B" in part["title"] else "")
    text += f"\n\n{part['date']}, commit {part['commit']}, {counted(part['threads'], 'thread')}, {counted(part['rounds'], 'round')}."
    if "product" in part and least(part["product"], "seconds"):
        by_clock, by_cpu = (1e-9 * rate(part, part["product"], key) for key in ("seconds", "cpu_seconds"))
        text += f" The product: {by_clock:.0f} GFLOP/s, {by_cpu:.0f} by CPU time."
    if part["other_cores"] >= NOISY:
        text += f" Other work kept {part['other_cores']} cores busy meanwhile: go by CPU time."
    text += "\n\n"
    if "error" in part:
        return text + f"Failed: {part['error']}\n"
    if "operators" in part:
        return text + table(["operator", "ms, min / median", "CPU ms", "GFLOP/s", "ratio", "ratio, CPU", "wanted"],
                            [operator_row(part, entry) for entry in part["operators"]])
    if "product" in part:
        return text + table(["", "seconds, min / median", "CPU s", "GFLOP/s", "of product", "peak GiB", "ratio", "ratio, CPU", "wanted",
                             "difference"], [network_row(part, entry) for entry in part["contenders"]])
    return text + table(["", "seconds, min / median", "CPU s", "peak GiB", "pace", "ratio", "ratio, CPU", "difference"],
                        [command_row(part, entry) for entry in part["contenders"]])


def markdown(results):
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    text = HEAD.format(**results | {"versions": versions})
    return text + "".join(section(part) for part in results["parts"].values())


def bars(results):
    """(part, label, ratio) of all that is compared with a peer."""
    for name, part in results["parts"].items():
        for entry in part.get("operators") or part["contenders"]:
            value = fair_ratio(part, entry)
            if value and "error" not in entry and name != "start-up":
                label = entry.get("name") or entry["label"].replace("tessera, ", "")
                yield part["title"], f"{label} {entry.get('dtype', '')}".strip(), value


def plot(results):
    """Bars of the ratios, the peer's 1 as a line."""
    found, rows, y, last = list(bars(results)), [], 30, None
    scale = 420 / max([value for _, _, value in found] + [2.0])
    for part, label, value in found:
        if part != last:
            y += 10 if last else 0
            rows.append(f'<text x="10" y="{y + 14}" font-weight="bold">{html.escape(part)}</text>')
            y, last = y + 22, part
        rows.append(f'<text x="170" y="{y + 13}" text-anchor="end">{html.escape(label)}</text>'
                    f'<rect x="180" y="{y + 2}" width="{value * scale:.1f}" height="14" fill="{"#2a7ab9" if value >= 1 else "#b9542a"}"/>'
                    f'<text x="{186 + value * scale:.1f}" y="{y + 13}">{value:.2f}x</text>')
        y += 20
    line = 180 + scale
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="660" height="{y + 15}" font-family="sans-serif" font-size="12">\n'
            '<rect width="100%" height="100%" fill="white"/>\n'
            '<text x="10" y="18">How many times faster than the peer, whose speed is the line at 1</text>\n')
    return head + "\n".join(rows) + f'\n<path d="M{line:.1f} 28V{y + 5}" stroke="black" stroke-dasharray="4 3"/>\n</svg>\n'


def write(folder, results):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "README.md").write_text(markdown(results))
    (folder / "ratios.svg").write_text(plot(results))


def check(folder):
    results = read(folder)
    wrong = [name for name, text in (("README.md", markdown(results)), ("ratios.svg", plot(results)))
             if (folder / name).read_text() != text]
    for name in wrong:
        print(f"{folder / name} is not what bench/peers makes of results.json", file=sys.stderr)
    return 1 if wrong else 0
