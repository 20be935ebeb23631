"""Whole commands: start-up, FID, and the trainers' steps."""

import json
import shutil

import harness
from harness import ROOT, Failed, say

PROGRAM = ROOT / "build/release/tessera"
IMAGES = 200
STEPS = 10  # of each phase of a trainer; the first is not counted
BUNDLED_VAE = ROOT / "weights/bundled/vae"


def in_turn(contenders, rounds, log, environment=None):
    """contenders: (entry, command) each; fills the entries. Whoever fails once is not asked again."""
    for entry, _ in contenders:
        entry |= {"seconds": [], "cpu_seconds": [], "peak_bytes": 0}
    for number in range(rounds):
        for entry, command in contenders:
            if "error" in entry:
                continue
            try:
                found = harness.run_command(command, log, environment)
            except Failed as error:
                entry["error"] = str(error)
                say(f"  {entry['label']}: {error}")
                continue
            for key in ("seconds", "cpu_seconds"):
                entry[key].append(found[key])
            entry["peak_bytes"] = max(entry["peak_bytes"], found["peak_bytes"])
            entry["output"] = found["output"]
        say(f"  round {number + 1}")
    return {"contenders": [entry for entry, _ in contenders]}


def without_output(found):
    for entry in found["contenders"]:
        entry.pop("output", None)
    return found


def start_up(python, scratch, options):
    contenders = [("import diffusers", "peer", [python, "-c", "import diffusers"]),
                  ("import of its Wan pipeline", "peer", [python, "-c", "from diffusers import WanPipeline"]),
                  ("tessera --version", "tessera", [PROGRAM, "--version"])]
    found = [({"label": label, "program": program}, command) for label, program, command in contenders]
    return without_output(in_turn(found, max(5, options.rounds), scratch / "start-up.log"))


def bundled(_python, scratch, options):
    """The main paths with the bundled model; there is no peer."""
    whats = [("image of 128x128", ["-o", "a.png"]), ("video of 17 frames", ["-o", "a.mp4"]),
             ("video of 17 frames, fp32", ["--dtype", "fp32", "-o", "b.mp4"]), ("video of 33 frames", ["--frames", 33, "-o", "c.mp4"]),
             ("8 images", ["--count", 8, "-o", "d.png"])]
    command = [PROGRAM, "generate", "a yellow star moving left on a blue background", "--quiet", "--seed", 1, "--steps", 30]
    contenders = [({"label": label, "program": "tessera"}, [*command, *rest[:-1], scratch / rest[-1]]) for label, rest in whats]
    return without_output(in_turn(contenders, options.rounds, scratch / "bundled.log"))


def fid(python, scratch, options):
    """Two sets of generated pictures, every tool as one command from files to the distance; see bench/fid."""
    folder = scratch / "fid"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        prepare = [["make_weights.py", folder / "hub/checkpoints"], ["make_images.py", folder / "a", IMAGES // 2],
                   ["make_images.py", folder / "b", IMAGES // 2, "--seed", 1, "--texture", 1.5]]
        for script, *arguments in prepare:
            harness.run_command([python, ROOT / "bench" / script, *arguments], scratch / "fid.log")
        (folder / "complete").touch()
    sets = [folder / "a", folder / "b"]
    ours = [PROGRAM, "fid", *sets, "--weights", folder / "hub/checkpoints/pt_inception-2015-12-05-6726825d.pth", "--quiet", "--json"]
    peer = [python, "-m", "pytorch_fid", "--device", "cpu", *sets]
    found = in_turn([({"label": "pytorch-fid", "program": "peer", "dtype": "fp32"}, peer),
                     ({"label": "tessera fid", "program": "tessera", "dtype": "fp32"}, [*ours, "--dtype", "fp32"]),
                     ({"label": "tessera fid", "program": "tessera", "dtype": "bf16"}, [*ours, "--dtype", "bf16"])],
                    options.rounds, scratch / "fid.log", {"TORCH_HOME": str(folder)})
    distances = []
    for entry in found["contenders"]:
        output = entry.pop("output", None)
        if output is not None:
            distances.append(json.loads(output)["fid"] if entry["program"] == "tessera" else float(output.split()[-1]))
            entry["difference"] = abs(distances[-1] / distances[0] - 1) if len(distances) > 1 else None
    return found


def train(name, config, phases, scratch):
    """Steps of one trainer. phases: name (or measure) in the log -> what it trains on and how many a step. Each step is a round."""
    folder = scratch / f"train-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = json.loads((ROOT / f"training/configs/{name}.json").read_text())
    settings.pop("minutes")
    settings |= config | {"run": str(folder / "run"), "output": str(folder / "out"), "log_every": 1, "steps": STEPS * len(phases),
                          "checkpoint_minutes": 1e6, "sheet_minutes": 1e6}
    (folder / "config.json").write_text(json.dumps(settings))
    log, seen = folder / "run/log.jsonl", []

    def watch(pid):
        lines = log.read_text().count("\n") if log.exists() else 0
        if lines > len(seen):
            seen.extend([harness.process_seconds(pid)] * (lines - len(seen)))

    result = harness.run_command([PROGRAM, "train", name, "--config", folder / "config.json"], folder / "train.log", None, watch)
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    spent = [None] + [after - before for before, after in zip(seen, seen[1:])]  # of the first step nobody knows
    entries = []
    for phase, (things, batch) in phases.items():
        own = [i for i, step in enumerate(steps) if phase == step["phase"] or phase in step][1:]  # the first pays for other things
        entries.append({"label": f"tessera train {name}, {things}", "program": "tessera", "dtype": "bf16", "things": things, "batch": batch,
                        "seconds": [batch / steps[i]["rate"] for i in own], "cpu_seconds": [spent[i] for i in own if i < len(spent)],
                        "peak_bytes": result["peak_bytes"]})
    return {"contenders": entries}


def train_vae(_python, scratch, _options):
    config = {"stills_part": 0.5}
    return train("vae", config, {"stills": ("stills", 72), "clips": ("clips", 12)}, scratch)


def train_denoiser(_python, scratch, _options):
    def size(frames, count, batch):
        return {"width": 128, "height": 128, "frames": frames, "count": count, "batch": batch}

    config = {"vae": str(BUNDLED_VAE), "scene_sizes": [size(1, 128, 64), size(17, 24, 8)], "videos_from": 0.5, "video_part": 1.0}
    return train("denoiser", config, {"image": ("stills", 64), "video": ("clips", 8)}, scratch)


PARTS = [("start-up", "Start-up", start_up), ("bundled", "generate with the bundled model, 30 steps", bundled),
         ("fid", f"FID of {IMAGES} images of 256x256, whole command", fid),
         ("train-vae", "A step of train vae", train_vae), ("train-denoiser", "A step of train denoiser", train_denoiser)]
