/* table.c - one instruction set's table of ops. Contract: graft/ops.h. */
#include "cpu.h"

#define GF_NAME_(isa) #isa
#define GF_NAME(isa) GF_NAME_(isa)

const gf_ops GF_CPU(ops) = {.name = GF_NAME(GF_ISA),
#define X(op) .op = GF_CPU(op),
                            GF_OPS(X)
#undef X
};
