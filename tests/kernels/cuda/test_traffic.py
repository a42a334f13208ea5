#!/usr/bin/env python3
"""test_traffic.py - what traffic.py calls too much, on counters made by hand."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import traffic  # noqa: E402


def counters(shared=100, sectors=100):
    return {"shared_wavefronts": shared, "shared_ideal": 100, "global_sectors": sectors,
            "global_ideal": 100}


class Judge(unittest.TestCase):
    def test_limits(self):
        measured = {"good": counters(105, 115), "banks": counters(106), "sectors": counters(100, 116)}
        bad = traffic.judge(set(measured), measured, {})
        self.assertEqual(bad, ["banks: shared 1.060 times the ideal, 1.05 at most",
                               "sectors: global 1.160 times the ideal, 1.15 at most"])

    def test_no_accesses_are_ideal(self):
        nothing = {field: 0 for field in counters()}
        self.assertEqual(traffic.judge({"idle"}, {"idle": nothing}, {}), [])

    def test_every_kernel_has_to_run(self):
        self.assertEqual(traffic.judge({"a", "b"}, {"a": counters()}, {}),
                         ["b: traffic.c does not run it"])

    def test_exceptions_end_somewhere_and_when_not_needed(self):
        measured = {"a": counters(100, 130)}
        self.assertEqual(traffic.judge({"a"}, measured, {("a", "global"): 1.3}), [])
        self.assertEqual(len(traffic.judge({"a"}, measured, {("a", "global"): 1.2})), 1)
        self.assertEqual(traffic.judge({"a"}, {"a": counters()}, {("a", "global"): 1.3}),
                         ["a global: no longer needs its exception"])


class Exceptions(unittest.TestCase):
    def read(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "list"
            path.write_text(text, encoding="utf-8")
            return traffic.read_exceptions(path)

    def test_lines(self):
        allowed, bad = self.read("# none\nkernel  global  1.3  rows of 20 bytes\n")
        self.assertEqual((allowed, bad), ({("kernel", "global"): 1.3}, []))

    def test_a_reason_is_asked_for(self):
        self.assertEqual(len(self.read("kernel global 1.3\n")[1]), 1)

    def test_none_is_too_large_and_few_are_enough(self):
        self.assertEqual(len(self.read("a global 1.6 because\n")[1]), 1)
        self.assertEqual(len(self.read("".join(f"k{i} global 1.2 because\n" for i in range(4)))[1]), 1)


if __name__ == "__main__":
    unittest.main()
