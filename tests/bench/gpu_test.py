"""bench/gpu on the CPU: the built bench_gpu meets every fixture's bound and computes its parts, and the page says what was found.

Usage: gpu_test.py BENCH_GPU
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parent.parent.parent
PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/gpu"), str(ROOT / "bench")]
import plan
import table

FIXTURES = ["wan_transformer", "wan_mhla_hybrid", "wan_mhla_hybrid_small", "mhla_video_attention", "dit_mhla", "umt5_encoder", "wan_vae"]


def run(folder, *more):
    command = [sys.executable, ROOT / "bench/gpu/run", "--device", "cpu", "--program", PROGRAM, "--output", folder, "--no-peers", *more]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder)


class GpuBench(unittest.TestCase):
    def test_a_tiny_run(self):
        with tempfile.TemporaryDirectory() as folder:
            ended = run(folder, "--grids", "3x5x10", "4x5x10", "--layers", "1", "--rounds", "1", "--seconds", "0", "--product", "256")
            self.assertEqual(ended.returncode, 0, ended.stderr)
            found = json.loads((pathlib.Path(folder) / "results.json").read_text())
            page = (pathlib.Path(folder) / "results.md").read_text()
        errors = {(figure["fixture"], figure["dtype"]): figure["error"] for figure in found["parity"]}
        self.assertEqual(sorted(errors), sorted((name, dtype) for name in FIXTURES for dtype in ("fp32", "bf16")))
        for (name, dtype), error in errors.items():
            # float32 as in tests/parity; bfloat16 has steps of 2^-8, so an error near nothing would be float32's.
            vae = name == "wan_vae"
            least, most = (0, 5e-5 if vae else 2e-5) if dtype == "fp32" else (1e-3, 1e-1 if vae else 4e-2)
            self.assertTrue(least < error <= most, f"{name} in {dtype}: {error}")
        self.assertEqual([(entry["tokens"], entry["label"]) for entry in found["parts"]],
                         [(150, "tessera, softmax"), (150, "tessera, MHLA"), (200, "tessera, softmax"), (200, "tessera, MHLA")])
        for entry in [found["product"], *found["parts"]]:
            self.assertTrue(len(entry["seconds"]) == 1 and entry["seconds"][0] > 0, entry)
        self.assertEqual(page, table.markdown(found))
        self.assertIn("### 150 tokens", page)

    def test_a_part_that_fails_leaves_the_others(self):
        made = plan.make([[1, 2, 2], [10**6, 10**3, 10**3]], 1, 16)  # latents of the second would take 1.3e14 bytes
        with tempfile.TemporaryDirectory() as folder:
            plan_file = pathlib.Path(folder) / "plan.json"
            plan_file.write_text(json.dumps(made))
            lines = [f"run {name}\n" for name in ("softmax-4", f"mhla-{10**12}", "mhla-4", "no-part", "product")]
            ended = subprocess.run([PROGRAM, "serve", "cpu", plan_file, "1", "0"], input="".join(lines), capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        answers = [json.loads(line) for line in ended.stdout.splitlines()]
        self.assertEqual([sorted(answer)[-1] for answer in answers],
                         ["ready", "seconds", "error", "seconds", "error", "seconds", "peak_bytes"])
        self.assertIn("allocate", answers[2]["error"])
        self.assertIn("no-part", answers[4]["error"])
        entry = {"label": "tessera, MHLA", "error": answers[2]["error"]}
        self.assertEqual(table.row({}, entry)[:2], ["tessera, MHLA", f"failed: {answers[2]['error']}"])

    def test_a_missing_fixture_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run([PROGRAM, "parity", "cpu"], env={"TESSERA_FIXTURES": folder}, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("wan_transformer/config.json", ended.stderr)

    def test_operations(self):
        made = plan.make([[21, 30, 50]], 30, 8192)
        # Of 30 layers: 83,361,792 weights of 31,500 tokens 7.8777e13; text 2.9727e12; MHLA with 150 blocks 1.0088e12 and its gate
        # 4.4590e12; softmax 1.82891e14. Patches in and out, 1.2386e10.
        self.assertAlmostEqual(plan.operations(made, "mhla-31500") / 1e12, 78.777 + 2.9727 + 1.0088 + 4.4590 + 0.0124, delta=0.01)
        self.assertAlmostEqual(plan.operations(made, "softmax-31500") / 1e12, 78.777 + 2.9727 + 182.891 + 0.0124, delta=0.01)
        self.assertEqual(plan.operations(made, "product"), 2 * 8192**3)

    def test_a_row_of_the_table(self):
        def entry(label, seconds, **more):
            return {"label": label, "tokens": 100, "flops": 6e12, "seconds": seconds} | more
        ours = entry("tessera, MHLA", [0.03, 0.02, 0.04], launch_seconds=0.001, activation_bytes=2**29)
        parts = [entry("tessera, softmax", [0.05, 0.06]), ours, entry("diffusers, softmax", [0.08])]
        found = {"product": {"flops": 8e12, "seconds": [0.02, 0.01]}, "parts": parts}
        self.assertEqual(table.row(found, ours),
                         ["tessera, MHLA", "20.00 / 30.00", "1.00", "300.0", "37.5%", "0.50", "2.50x", "4.00x"])


unittest.main()
