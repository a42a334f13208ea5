// mma, ldmatrix, stmatrix: element by element against the fragment layouts published in the PTX
// ISA.
#include "opcode_test.h"

using namespace ptxvm;

static float value(int n) // small integers: sums are exact in every format
{
    return (float)((n * 7 + 3) % 11 - 5);
}

// What register `i`, half `h` of a lane holds: row and column. PTX ISA, "Matrix Fragments for
// mma.m16n8k16 with floating point type": a_i of the ISA's numbering, i = 0..7, two to a register.
static void place_a16(int lane, int i, int *row, int *column)
{
    const int group = lane >> 2, thread = lane % 4;
    *row = (i < 2) || (4 <= i && i < 6) ? group : group + 8;
    *column = i < 4 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8;
}
static void place_b16(int lane, int i, int *row, int *column)
{
    const int group = lane >> 2, thread = lane % 4;
    *row = i < 2 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8;
    *column = group;
}
static void place_c(int lane, int i, int *row, int *column)
{
    const int group = lane >> 2, thread = lane % 4;
    *row = i < 2 ? group : group + 8;
    *column = thread * 2 + (i & 1);
}
static void place_a_tf32(int lane, int i, int *row, int *column)
{
    const int group = lane >> 2, thread = lane % 4;
    *row = i == 0 || i == 2 ? group : group + 8;
    *column = i < 2 ? thread : thread + 4;
}
static void place_b_tf32(int lane, int i, int *row, int *column)
{
    *row = i == 0 ? lane % 4 : lane % 4 + 4;
    *column = lane >> 2;
}

using Place = void (*)(int, int, int *, int *);
struct Shape {
    const char *op;
    int k, a, b; // registers of a and b
    Place place_a, place_b;
    u32 (*encode)(float);
    int per_register; // elements
};
static u32 encode_brain(float f)
{
    return float_to_bf16(f);
}
static u32 encode_half(float f)
{
    return float_to_half(f);
}

// d = a * b + c with integers: the result is exact, so that every element tells.
static void check_mma(const Shape &s)
{
    float a[16][16], b[16][8], c[16][8];
    for (int n = 0; n < 256; n++)
        a[n / 16][n % 16] = value(n);
    for (int n = 0; n < 128; n++) {
        b[n / 8][n % 8] = value(3 * n + 1);
        c[n / 8][n % 8] = value(5 * n + 2);
    }
    const int registers = s.a + s.b + 4;
    Run run;
    run.in.assign((size_t)(32 * registers), 0);
    run.out_words = 32 * 4;
    for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < registers; r++) {
            u32 word = 0;
            int row, column;
            for (int h = 0; h < s.per_register && r < s.a + s.b; h++) {
                const bool of_a = r < s.a;
                const int i = (of_a ? r : r - s.a) * s.per_register + h;
                (of_a ? s.place_a : s.place_b)(lane, i, &row, &column);
                word |= s.encode(of_a ? a[row][column] : b[row][column]) << 16 * h;
            }
            if (r >= s.a + s.b) {
                place_c(lane, r - s.a - s.b, &row, &column);
                word = float_bits(c[row][column]);
            }
            run.in[(size_t)(registers * lane + r)] = word;
        }
    std::string body = ".reg .b32 %r<16>, %d<4>; .reg .b64 %x;\n mul.wide.u32 %x, %tid, " +
                       std::to_string(4 * registers) + "; add.u64 %x, %in, %x;\n";
    std::string lists[3];
    for (int r = 0; r < registers; r++) {
        const std::string name = "%r" + std::to_string(r);
        body += "ld.global.u32 " + name + ", [%x+" + std::to_string(4 * r) + "];\n";
        std::string &list = lists[r < s.a ? 0 : r < s.a + s.b ? 1 : 2];
        list += (list.empty() ? "" : ", ") + name;
    }
    body += std::string(s.op) + " {%d0, %d1, %d2, %d3}, {" + lists[0] + "}, {" + lists[1] + "}, {" +
            lists[2] +
            "};\nmul.wide.u32 %x, %tid, 16; add.u64 %x, %out, %x;\n"
            "st.global.v4.u32 [%x], {%d0, %d1, %d2, %d3};";
    expect_words(
        results_of(body, run),
        [&](unsigned n) {
            int row, column;
            place_c((int)n / 4, (int)n % 4, &row, &column);
            float sum = c[row][column];
            for (int k = 0; k < s.k; k++)
                sum += a[row][k] * b[k][column];
            return float_bits(sum);
        },
        s.op);
}
Test(tensor, mma_bf16)
{
    check_mma({"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 16, 4, 2, place_a16,
               place_b16, encode_brain, 2});
    check_mma({"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 8, 2, 1, place_a16, place_b16,
               encode_brain, 2});
}
Test(tensor, mma_f16)
{
    check_mma({"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 16, 4, 2, place_a16, place_b16,
               encode_half, 2});
    check_mma({"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 8, 2, 1, place_a16, place_b16,
               encode_half, 2});
}
Test(tensor, mma_tf32)
{
    check_mma({"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, 4, 2, place_a_tf32,
               place_b_tf32, float_bits, 1});
    check_mma({"mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 4, 2, 1, place_a_tf32,
               place_b_tf32, float_bits, 1});
}
Test(tensor, mma_by_part_of_a_warp)
{
    Run run;
    run.block.x = 16;
    expect_fault(".reg .b32 %a; mov.u32 %a, 0;\nmma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 "
                 "{%a, %a, %a, %a}, {%a, %a}, {%a}, {%a, %a, %a, %a};",
                 run, "warp collective by a part of a warp");
}
Test(tensor, other_shapes_are_refused)
{
    expect_fault(".reg .b32 %a; mov.u32 %a, 0;\nmma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 "
                 "{%a, %a, %a, %a}, {%a, %a}, {%a}, {%a, %a, %a, %a};",
                 {}, "is not implemented");
    expect_fault(".reg .b32 %a; mov.u32 %a, 0;\nmma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%a, %a, %a, %a}, {%a, %a}, {%a, %a}, {%a, %a, %a, %a};",
                 {}, "must have 4 registers");
}

// ---- ldmatrix, stmatrix ----

// 32 rows of 8 halves in shared memory, row r at place (5 r) mod 32 so that nothing is in order;
// half c of row r is 8 r + c. Lane l gives the address of row l.
static const std::string rows =
    ".shared .align 16 .b8 room[512]; .reg .b32 %a, %r<4>, %n; .reg .b64 %x;\n"
    "mul.lo.u32 %a, %lane, 5; and.b32 %a, %a, 31; shl.b32 %a, %a, 4; mov.u32 %n, room;\n"
    "add.u32 %a, %a, %n;\n";
static const std::string filled =
    "mul.wide.u32 %x, %tid, 16; add.u64 %x, %in, %x;\n"
    "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%x]; st.shared.v4.u32 [%a], {%r0, %r1, %r2, %r3};\n"
    "mov.u32 %r0, 0; mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u32 %r3, 0; bar.warp.sync 0xffffffff;\n";
static const std::string out_registers = "mul.wide.u32 %x, %tid, 16; add.u64 %x, %out, %x;\n"
                                         "st.global.v4.u32 [%x], {%r0, %r1, %r2, %r3};";
static Run rows_run()
{
    Run run;
    run.out_words = 128;
    for (u32 n = 0; n < 128; n++)
        run.in.push_back((2 * n + 1) << 16 | (2 * n));
    return run;
}
static void check_ldmatrix(int count, bool transposed)
{
    const char *lists[] = {"", "{%r0}", "{%r0, %r1}", "", "{%r0, %r1, %r2, %r3}"};
    const std::string op = std::string("ldmatrix.sync.aligned.m8n8.x") + std::to_string(count) +
                           (transposed ? ".trans" : "") + ".shared.b16 ";
    expect_words(
        results_of(rows + filled + op + lists[count] + ", [%a];\n" + out_registers, rows_run()),
        [&](unsigned n) -> u32 {
            const u32 lane = n / 4, matrix = n % 4, g = lane / 4, t = lane % 4;
            if ((int)matrix >= count)
                return 0;
            const auto at = [&](u32 row, u32 column) { return 8 * (8 * matrix + row) + column; };
            return transposed ? at(2 * t + 1, g) << 16 | at(2 * t, g)
                              : at(g, 2 * t + 1) << 16 | at(g, 2 * t);
        },
        op.c_str());
}
Test(tensor, ldmatrix)
{
    for (int count : {1, 2, 4})
        for (bool transposed : {false, true})
            check_ldmatrix(count, transposed);
}
Test(tensor, ldmatrix_mistakes)
{
    expect_fault(rows + filled +
                     "add.u32 %a, %a, 8;\n"
                     "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%a];",
                 rows_run(), "misaligned access");
    expect_fault(rows + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%a];", rows_run(),
                 "uninitialised read");
    expect_fault(rows + filled +
                     "add.u32 %a, %a, 16;\n"
                     "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%a];",
                 rows_run(), "out-of-bounds shared read");
}
Test(tensor, stmatrix) // what ldmatrix reads, stmatrix writes
{
    for (const char *trans : {"", ".trans"}) {
        const std::string load = std::string("ldmatrix.sync.aligned.m8n8.x4") + trans +
                                 ".shared.b16 {%r0, %r1, %r2, %r3}, [%a];\n";
        const std::string store = std::string("stmatrix.sync.aligned.m8n8.x4") + trans +
                                  ".shared.b16 [%a+512], {%r0, %r1, %r2, %r3};\n";
        std::string body = rows + filled + load + store +
                           "bar.warp.sync 0xffffffff;\n"
                           "ld.shared.v4.u32 {%r0, %r1, %r2, %r3}, [%a+512];\n" +
                           out_registers;
        body.replace(body.find("room[512]"), 9, "room[1024]");
        const Run run = rows_run();
        expect_words(
            results_of(body, run), [&](unsigned n) { return run.in[n]; }, trans);
    }
}
