#!/usr/bin/env python3
"""Tests of tools/budgets.py: what it reads from SASS, and what it calls worse. Needs no compiler."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
sys.dont_write_bytecode = True
import budgets  # noqa: E402

SASS = """
\tcode for sm_80
\t\tFunction : copy
        /*0000*/                   LDG.E.128.CONSTANT R4, [R2.64] ;          /* 0x0000 */
                                                                             /* 0x0000 */
        /*0010*/              @!P0 LDG.E R5, [R2.64+0x10] ;                  /* 0x0000 */
        /*0020*/                   LDGSTS.E.BYPASS.128 [R3], [R2.64] ;       /* 0x0000 */
        /*0030*/              @UP2 STG.E.64 [R2.64], R4 ;                    /* 0x0000 */
        /*0040*/                   BRA 0x40 ;                                /* 0x0000 */
\t\tFunction : spills
        /*0000*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;     /* 0x0000 */
        /*0010*/                   LDSM.16.MT88.4 R8, [R2] ;                 /* 0x0000 */
        /*0020*/                   STL.64 [R1], R4 ;                         /* 0x0000 */
        /*0030*/                   CALL.REL.NOINC 0x100 ;                    /* 0x0000 */
        /*0040*/                   DFMA R4, R8, R12, R4 ;                    /* 0x0000 */
        /*0050*/                   LD.E R4, [R2] ;                           /* 0x0000 */
        /*0060*/                   F2F.F64.F32 R4, R2 ;                      /* 0x0000 */
        /*0070*/               @P0 BRA 0x10 ;                                /* 0x0000 */
"""
RESOURCES = """
 Function copy:
  REG:40 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:400 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function spills:
  REG:255 STACK:16 SHARED:0 LOCAL:0 CONSTANT[0]:400 TEXTURE:0 SURFACE:0 SAMPLER:0
"""


def row(**numbers):
    return {**dict.fromkeys(budgets.COLUMNS, 0), "regs": 64, **numbers}


class Reading(unittest.TestCase):
    def setUp(self):
        self.kernels = budgets.read_sass(SASS)
        budgets.read_resources(RESOURCES, self.kernels)

    def test_accesses(self):
        got = self.kernels["copy"][0]
        self.assertEqual(got, row(regs=40, shared=1024, wide=2, **{"global": 4}))

    def test_what_no_kernel_may_have(self):
        got = self.kernels["spills"][0]
        self.assertEqual(got, row(regs=255, stack=16, local=1, mma=1, ldsm=1, call=1, f64=2,
                                  generic=1))

    def test_hot_loop(self):
        loop = budgets.hot_loop(self.kernels["spills"][1])
        self.assertEqual((loop["LDSM"], loop["HMMA"], loop["BRA"]), (1, 0, 1))


class Comparing(unittest.TestCase):
    key = ("module", "kernel_f32", "sm_80")

    def judge(self, now, was, allowed=()):
        return budgets.check({self.key: now}, {self.key: was}, list(allowed))

    def worse(self, now, was, word):
        errors, hints = self.judge(now, was)
        self.assertEqual((len(errors), len(hints)), (1, 0), errors)
        self.assertIn("worse: " + word, errors[0])
        self.assertIn("module: kernel_f32 sm_80", errors[0])

    def test_same(self):
        self.assertEqual(self.judge(row(), row()), ([], []))

    def test_more_registers(self):
        self.worse(row(regs=65), row(), "regs 64 -> 65")

    def test_more_shared_memory(self):
        self.worse(row(shared=16), row(), "shared 0 -> 16")

    def test_narrower_accesses(self):
        self.worse(row(wide=3, **{"global": 4}), row(wide=4, **{"global": 4}), "128-bit share")

    def test_more_ldmatrix(self):
        self.worse(row(mma=4, ldsm=3), row(mma=8, ldsm=5), "ldsm/mma")

    def test_no_tensor_pipe(self):
        self.worse(row(), row(mma=8), "mma 8 -> 0")

    def test_spills_need_no_table(self):
        for column in budgets.NEVER:
            now = row(**{column: 2})
            errors, _ = self.judge(now, now)
            self.assertEqual(len(errors), 1, column)
            self.assertEqual(self.judge(now, now, [(column, "kernel_*", "why")])[0], [])

    def test_better_is_a_hint(self):
        errors, hints = self.judge(row(regs=32), row())
        self.assertEqual((errors, len(hints)), ([], 1))

    def test_new_and_gone(self):
        errors, _ = budgets.check({self.key: row()}, {("m", "old", "sm_80"): row()}, [])
        self.assertEqual(errors, ["m: old sm_80: is in the table, but not in the build",
                                  "module: kernel_f32 sm_80: is not in the table"])

    def test_architectures_that_were_not_built(self):
        errors, _ = budgets.check({self.key: row()},
                                  {self.key: row(), ("m", "k", "sm_90"): row()}, [])
        self.assertEqual(errors, [])

    def test_table_reads_what_it_wrote(self):
        rows = {self.key: row(mma=8), ("a", "b", "sm_90"): row(wide=1, **{"global": 1})}
        allowed = [("f64", "norm*", "sums are double")]
        self.assertEqual(budgets.read_table(budgets.write_table(rows, allowed)), (rows, allowed))


if __name__ == "__main__":
    unittest.main()
