"""The table and the plot of docs/benchmarks are made from results.json, and what they are made by computes what it says."""
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench"))
import harness
import parts
import report


def entry(program, seconds, cpu_seconds, **more):
    return {"label": program, "program": program, "dtype": "bf16", "seconds": seconds, "cpu_seconds": cpu_seconds} | more


class Benchmarks(unittest.TestCase):
    def part(self, other_cores):
        peer = entry("peer", [4.0, 3.0, 5.0], [9.0, 8.0, 7.0], flops=6e11)
        ours = entry("tessera", [2.0, 2.5, 3.0], [3.5, 3.6, 3.7], flops=6e11, target=1.8, peak_bytes=3 * 2**29)
        return {"title": "a part", "date": "today", "commit": "abc", "threads": 2, "rounds": 3, "layers": 3, "other_cores": other_cores, "contenders": [peer, ours],
                "product": entry("product", [0.5], [1.0], flops=4e11 / 2)}

    def test_ratios_are_of_the_least_times(self):
        part = self.part(0.0)
        self.assertEqual(report.ratio(part, part["contenders"][1], "seconds"), 1.5)
        self.assertEqual(report.ratio(part, part["contenders"][1], "cpu_seconds"), 2.0)
        self.assertIsNone(report.ratio(part, part["contenders"][0], "seconds"))

    def test_a_row_of_the_table(self):
        part = self.part(0.0)
        # 6e11 operations in 2 s; in 3.5 / 2 s of two threads, where the product's rate is 2e11 in 1 / 2 s: 343 of 400.
        self.assertEqual(report.network_row(part, part["contenders"][1]),
                         ["tessera (bf16)", "2.00 / 2.50", "3.50", "300", "86%", "1.50", "1.50x", "2.00x", "1.8x: no", ""])

    def test_targets_go_by_processor_time_beside_other_work(self):
        part = self.part(0.5)
        self.assertEqual(report.verdict(part, part["contenders"][1]), "1.8x: yes")
        self.assertIn("go by CPU time", report.section(part))

    def test_what_failed_is_shown(self):
        part = self.part(0.0)
        part["contenders"][1] = entry("tessera", [], [], error="exit 1: no such dtype")
        self.assertIn("failed: exit 1: no such dtype", report.section(part))
        self.assertEqual(report.errors(part), ["exit 1: no such dtype"])

    def test_operations_of_mhla(self):
        part = next(part for part in parts.NETWORKS if part.name == "wan-1200")
        softmax, mhla, hybrid = (next(c for c in part.contenders if c.attention == kind and c.program == "tessera")
                                 for kind in ("softmax", "mhla", "hybrid"))
        # A layer: 5,662,310,400 of the gate, 943,718,400 and 2,211,840,000 of the operator, for 8,847,360,000 of softmax.
        self.assertEqual(parts.operations(part, softmax, 10**12, 3, 1), 10**12)
        self.assertEqual(parts.operations(part, mhla, 10**12, 3, 1), 10**12 - 3 * 29_491_200)
        self.assertEqual(parts.operations(part, hybrid, 10**12, 3, 1), 10**12 - 2 * 29_491_200)

    def test_other_work_is_what_nobody_here_did(self):
        before, after = harness.Load(time=10, busy=100, own=50), harness.Load(time=20, busy=120, own=65)
        self.assertAlmostEqual(harness.others(before, after), 0.5)

    def test_an_operator_beside_its_eager_like(self):
        ours = {"name": "mhla/1200", "target": 3.0, "seconds": [0.002, 0.003], "cpu_seconds": [0.004, 0.005], "flops": 600_000_000}
        eager = {"name": "eager_mhla/1200", "target": None, "seconds": [0.007, 0.009], "cpu_seconds": [0.01, 0.01]}
        part = {"operators": [ours, eager], "threads": 2, "other_cores": 0.0}
        self.assertEqual(report.operator_row(part, ours), ["`mhla/1200`", "2.00 / 2.50", "4.00", "300", "3.50x", "2.50x", "3.0x: yes"])
        self.assertEqual(report.operator_row(part, eager)[4:], ["", "", ""])

    def test_a_process_that_ends_early_says_why(self):
        with tempfile.TemporaryDirectory() as folder:
            worker = harness.Worker(["sh", "-c", "echo '{\"ready\": true}'; read line; echo damaged weights >&2; exit 3"], f"{folder}/log")
            self.assertEqual(worker.answer(), {"ready": True})
            with self.assertRaisesRegex(harness.Failed, "exit 3: damaged weights"):
                worker.ask("run")
            self.assertIsNone(worker.close())

    def test_the_page_is_that_of_its_results(self):
        self.assertEqual(report.check(ROOT / "docs/benchmarks"), 0)


unittest.main()
