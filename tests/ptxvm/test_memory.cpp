// Loads, stores, atomics, address spaces, asynchronous copies; and what the device finds wrong with
// accesses.
#include "opcode_test.h"

using namespace ptxvm;

static Run with(std::vector<u32> in, size_t out_words = 32, unsigned threads = 32)
{
    Run run;
    run.in = std::move(in);
    run.out_words = out_words;
    run.block.x = threads;
    return run;
}
static void expect(const std::string &body, const Run &run, const std::function<u32(unsigned)> &f)
{
    expect_words(results_of(body, run), f, body.c_str());
}

// ---- ld, st ----

Test(memory, widths)
{
    const Run run = with({0x80f1f2f3, 0x12345678}, 32);
    const struct {
        const char *load;
        u32 expected;
    } cases[] = {
        {"ld.global.u8 %v, [%in+3];", 0x80},
        {"ld.global.s8 %v, [%in+3];", 0xffffff80},
        {"ld.global.u16 %v, [%in+2];", 0x80f1},
        {"ld.global.s16 %v, [%in+2];", 0xffff80f1},
        {"ld.global.b32 %v, [%in];", 0x80f1f2f3},
        {"{ .reg .b64 %w; ld.global.s32 %w, [%in]; shr.u64 %w, %w, 32; cvt.u32.u64 %v, %w; }",
         0xffffffff},
        {"{ .reg .b16 %h; ld.global.u8 %h, [%in]; cvt.u32.u16 %v, %h; }", 0xf3},
        {"{ .reg .b64 %w; ld.global.u64 %w, [%in]; shr.u64 %w, %w, 32; cvt.u32.u64 %v, %w; }",
         0x12345678}};
    for (const auto &c : cases)
        expect(std::string(".reg .b32 %v;") + c.load + "st.global.u32 [%dst], %v;", run,
               [&](unsigned) { return c.expected; });
    expect(
        ".reg .b32 %v; mov.u32 %v, 0x1234; st.global.u8 [%out], %v; st.global.u16 [%out+2], %v;\n"
        "st.global.u32 [%out+4], 77;",
        with({}, 3, 1), [](unsigned n) { return n == 0   ? 0x1234ee34u
                                                : n == 1 ? 77
                                                         : 0xeeeeeeee; });
}
Test(memory, qualifiers) // that say nothing about the value
{
    for (const char *q : {".nc", ".L1::no_allocate", ".nc.L1::no_allocate", ".nc.L1::evict_last",
                          ".volatile", ".relaxed.gpu", ".acquire.sys", ".ca", ".cg", ".cs", ".lu",
                          ".cv", ".nc.L2::128B", ".weak"}) {
        std::string load = std::string("ld") + q + ".global.u32";
        if (std::string(q).find("nc") != std::string::npos || q[1] == 'L' || q[1] == 'c')
            load = std::string("ld.global") + q + ".u32";
        expect(".reg .b32 %v; " + load + " %v, [%src]; st.global.u32 [%dst], %v;",
               with(counting(32)), [](unsigned n) { return n; });
    }
    expect(".reg .b32 %v; .reg .b64 %policy; createpolicy.fractional.L2::evict_last.b64 %policy, "
           "1.0;\n"
           "ld.global.nc.L1::no_allocate.L2::cache_hint.u32 %v, [%src], %policy;\n"
           "st.global.L1::no_allocate.L2::cache_hint.u32 [%dst], %v, %policy;",
           with(counting(32)), [](unsigned n) { return n; });
    expect(".reg .b32 %v; ld.global.u32 %v, [%src]; st.global.cs.u32 [%dst], %v;\n"
           "prefetch.global.L2 [%src]; membar.gl; fence.acq_rel.gpu;",
           with(counting(32)), [](unsigned n) { return n; });
}
Test(memory, vectors)
{
    expect(".reg .b32 %v<4>; ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%in+16];\n"
           "st.global.v4.b32 [%out], {%v3, %v2, %v1, %v0}; st.global.v2.f32 [%out+16], {%v1, %v2};",
           with(counting(8), 6, 1), [](unsigned n) { return n < 4 ? 7 - n : n + 1; });
    expect(".reg .b64 %v<2>; ld.global.v2.u64 {%v0, %v1}, [%in];\n"
           "st.global.v2.b64 [%out], {%v1, %v0};",
           with(counting(4), 4, 1), [](unsigned n) { return n ^ 2; });
    expect(".reg .b16 %v<4>; ld.global.v4.u16 {%v0, %v1, %v2, %v3}, [%in];\n"
           "st.global.v4.u16 [%out], {%v1, %v0, %v3, %v2};",
           with({0x00020001, 0x00040003}, 2, 1),
           [](unsigned n) { return n ? 0x00030004 : 0x00010002; });
    expect(
        ".reg .b32 %v<4>; ld.global.v4.u8 {%v0, %v1, %v2, %v3}, [%in]; st.global.u32 [%out], %v2;",
        with({0x44332211}, 1, 1), [](unsigned) { return 0x33; });
    expect(".reg .b32 %v; ld.global.v2.u32 {_, %v}, [%in]; st.global.u32 [%out], %v;",
           with(counting(2), 1, 1), [](unsigned) { return 1; });
}

// ---- address spaces ----

Test(memory, shared_and_generic)
{
    expect(".shared .align 16 .b8 room[128]; .reg .b64 %g, %s; .reg .b32 %v; .reg .pred %p, %q;\n"
           "mov.u64 %s, room; add.u64 %s, %s, %four; cvta.shared.u64 %g, %s;\n"
           "mul.lo.u32 %v, %tid, 3; st.u32 [%g], %v; isspacep.shared %p, %g;\n"
           "isspacep.global %q, %out; cvta.to.shared.u64 %s, %g; ld.shared.u32 %v, [%s];\n"
           "@%p add.u32 %v, %v, 100; @%q add.u32 %v, %v, 1000; isspacep.local %q, %g;\n"
           "@%q add.u32 %v, %v, 10000; st.global.u32 [%dst], %v;",
           with({}), [](unsigned n) { return 3 * n + 1100; });
}
Test(memory, local) // each thread has its own
{
    expect(
        ".local .align 8 .b8 mine[16]; .reg .b64 %g, %l; .reg .b32 %v;\n"
        "mov.u64 %l, mine; cvta.local.u64 %g, %l; st.u32 [%g+4], %tid; ld.local.u32 %v, [%l+4];\n"
        "st.local.u32 [mine+12], %v; ld.u32 %v, [%g+12]; st.global.u32 [%dst], %v;",
        with({}), [](unsigned n) { return n; });
    expect_fault(".local .align 8 .b8 mine[16]; .reg .b32 %v; ld.local.u32 %v, [mine+16];",
                 with({}), "out-of-bounds local access");
}
Test(memory, dynamic_shared)
{
    Run run = with({});
    run.dynamic_shared = 128;
    const char *body = ".extern .shared .align 16 .b8 dynamic[]; .shared .b8 fixed[20];\n"
                       ".reg .b32 %a, %v; mov.u32 %a, dynamic; shl.b32 %v, %tid, 2;\n"
                       "add.u32 %a, %a, %v; st.shared.u32 [%a], %tid; ld.shared.u32 %v, [%a];\n"
                       "st.global.u32 [%dst], %v;";
    expect(body, run, [](unsigned n) { return n; });
    run.dynamic_shared = 124;
    expect_fault(body, run, "out-of-bounds shared write");
}

// ---- atomics ----

// 32 lanes do `op` on one place that holds `start`: in global and in shared memory, with and
// without the old value. %tid is their number, %f and %w the same as f32 and as 64 bits.
static void check_atomic(const std::string &op, std::vector<u32> start, const std::string &operand,
                         const std::function<bool(u64)> &good)
{
    const std::string setup =
        ".shared .align 16 .b8 place[16]; .reg .b32 %v<4>, %f, %old32; .reg .b64 %w, %old64;\n"
        ".reg .b16 %old16, %h; .reg .pred %p; cvt.rn.f32.u32 %f, %tid; cvt.u64.u32 %w, %tid;\n"
        "cvt.rn.f16.f32 %h, %f; ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%in];\n"
        "setp.eq.u32 %p, %tid, 0;\n";
    const std::string fill = "@%p st.shared.v4.u32 [place], {%v0, %v1, %v2, %v3};\n"
                             "@%p st.global.v4.u32 [%out], {%v0, %v1, %v2, %v3}; bar.sync 0;\n";
    const std::string type = op.substr(op.rfind('.'));
    const std::string bits =
        type == ".f16x2" || type == ".bf16x2"
            ? "32"
            : std::to_string(atoi(type.c_str() + type.find_first_of("123468")));
    const std::string old = "%old" + bits;
    start.resize(4);
    for (const std::string &text :
         {"red.global." + op + " [%out], " + operand + ";",
          "atom.global." + op + " " + old + ", [%out], " + operand + ";",
          "atom.shared." + op + " " + old + ", [place], " + operand +
              "; bar.sync 0; @%p ld.shared.v4.u32 {%v0, %v1, %v2, %v3}, [place];"
              "@%p st.global.v4.u32 [%out], {%v0, %v1, %v2, %v3};"}) {
        if (text[0] == 'r' && (op[0] == 'e' || op[0] == 'c')) // exch and cas give the old value
            continue;
        const auto got = results_of(setup + fill + text, with(start, 4));
        cr_assert(good(got[0] | (u64)got[1] << 32), "%s: %#x %#x", text.c_str(), got[0], got[1]);
    }
}
Test(memory, atomics_of_32_bits)
{
    const auto is = [](u32 expected) { return [=](u64 got) { return (u32)got == expected; }; };
    check_atomic("add.u32", {7}, "%tid", is(7 + 496));
    check_atomic("add.s32", {(u32)-500}, "%tid", is((u32)-4));
    check_atomic("min.u32", {7}, "%tid", is(0));
    check_atomic("min.s32", {(u32)-7}, "%tid", is((u32)-7));
    check_atomic("max.u32", {7}, "%tid", is(31));
    check_atomic("max.s32", {(u32)-7}, "%tid", is(31));
    check_atomic("and.b32", {0xff}, "0x1e", is(0x1e));
    check_atomic("or.b32", {0x100}, "%tid", is(0x11f));
    check_atomic("xor.b32", {0x5}, "%tid", is(5));
    check_atomic("inc.u32", {3}, "20", is((3 + 32) % 21));
    check_atomic("dec.u32", {3}, "20", is(20 - (32 - 4) % 21));
    check_atomic("exch.b32", {99}, "%tid", [](u64 got) { return (u32)got < 32; });
    check_atomic("cas.b32", {5}, "5, %tid", [](u64 got) { return (u32)got < 32; });
    check_atomic("add.f32", {float_bits(0.5f)}, "%f", is(float_bits(496.5f)));
}
Test(memory, atomics_of_64_bits)
{
    const auto is = [](u64 expected) { return [=](u64 got) { return got == expected; }; };
    check_atomic("add.u64", {0xffffffff, 0}, "%w", is(0xffffffffull + 496));
    check_atomic("min.s64", {0, 0xffffffff}, "%w", is(0xffffffff00000000ull));
    check_atomic("max.u64", {0, 1}, "%w", is(1ull << 32));
    check_atomic("max.s64", {0, 0xffffffff}, "%w", is(31));
    check_atomic("exch.b64", {1, 1}, "%w", [](u64 got) { return got < 32; });
    check_atomic("cas.b64", {5, 0}, "5, %w", [](u64 got) { return got < 32; });
    check_atomic("or.b64", {0, 4}, "%w", is(4ull << 32 | 31));
    check_atomic("add.f64", {0, 0}, "0d3FF8000000000000", is(bit_cast<u64>(48.0)));
}
Test(memory, atomics_of_halves)
{
    const auto is = [](u32 expected) { return [=](u64 got) { return (u32)got == expected; }; };
    check_atomic("add.noftz.bf16x2", {0x3f800000}, "0x3f803f80", is(0x42044200));
    check_atomic("add.noftz.f16x2", {0x3c000000}, "0x3c003c00", is(0x50205000));
    check_atomic("add.noftz.f16", {0x11110000}, "0x3c00", is(0x11115000));
}
Test(memory, vectors_of_red) // sm_90
{
    expect("red.global.add.v2.f32 [%out], {0f3F800000, 0f40000000};", with({}, 2), [](unsigned n) {
        float sum = bits_float(0xeeeeeeee);
        for (int i = 0; i < 32; i++)
            sum += n ? 2.f : 1.f;
        return float_bits(sum);
    });
}

// ---- cp.async ----

// Room for 16 bytes of each thread; %s is the thread's own, %g its source.
static const std::string copies =
    ".shared .align 16 .b8 room[512]; .reg .b32 %s, %v<4>, %n; .reg .b64 %g; .reg .pred %p;\n"
    "mov.u32 %s, room; shl.b32 %n, %tid, 4; add.u32 %s, %s, %n; mul.wide.u32 %g, %tid, 16;\n"
    "add.u64 %g, %in, %g;\n";
static const std::string read_own = "ld.shared.v4.u32 {%v0, %v1, %v2, %v3}, [%s];\n"
                                    "add.u32 %v0, %v0, %v3; st.global.u32 [%dst], %v0;";
static Run copy_run()
{
    return with(counting(128));
}
static u32 own_sum(unsigned n)
{
    return 8 * n + 3;
}
Test(copies, waited_for)
{
    for (const char *copy : {"cp.async.cg.shared.global [%s], [%g], 16;",
                             "cp.async.ca.shared.global [%s], [%g], 16, 16;",
                             "cp.async.cg.shared::cta.global.L2::128B [%s], [%g], 16;",
                             "cp.async.ca.shared.global [%s], [%g], 8;"
                             "cp.async.ca.shared.global [%s+8], [%g+8], 8;",
                             "cp.async.ca.shared.global [%s], [%g], 4;"
                             "cp.async.ca.shared.global [%s+4], [%g+4], 4;"
                             "cp.async.ca.shared.global [%s+8], [%g+8], 8;"})
        for (const char *wait : {"cp.async.commit_group; cp.async.wait_group 0;",
                                 "cp.async.wait_all;", "cp.async.commit_group; cp.async.wait_all;"})
            expect(copies + copy + wait + read_own, copy_run(), own_sum);
}
Test(copies, part_of_the_source) // the rest becomes zero, and is not read
{
    const std::string copy = "cp.async.ca.shared.global [%s], [%g], 16, %n; cp.async.wait_all;";
    expect(copies + "mov.u32 %n, 12;" + copy + read_own, copy_run(),
           [](unsigned n) { return 4 * n; });
    expect(copies + "mov.u32 %n, 0; mov.u64 %g, 16;" + copy + read_own, copy_run(),
           [](unsigned) { return 0; });
    expect(copies +
               "setp.lt.u32 %p, %tid, 8;"
               "cp.async.ca.shared.global [%s], [%g], 16, %p; cp.async.wait_all;" +
               read_own,
           copy_run(), [](unsigned n) { return n < 8 ? 0 : own_sum(n); });
}
Test(copies, groups) // wait_group 1 leaves the newest group open
{
    const std::string two = "cp.async.ca.shared.global [%s], [%g], 8; cp.async.commit_group;\n"
                            "cp.async.ca.shared.global [%s+8], [%g+8], 8; cp.async.commit_group;\n";
    expect(copies + two +
               "cp.async.wait_group 1; ld.shared.u32 %v0, [%s+4];\n"
               "cp.async.wait_group 0; st.global.u32 [%dst], %v0;",
           copy_run(), [](unsigned n) { return 4 * n + 1; });
    expect_fault(copies + two +
                     "cp.async.wait_group 1; ld.shared.u32 %v0, [%s+8];\n"
                     "cp.async.wait_all; st.global.u32 [%dst], %v0;",
                 copy_run(), "read of an asynchronous copy in flight");
}
Test(copies, mistakes)
{
    const std::string copy = "cp.async.cg.shared.global [%s], [%g], 16;";
    expect_fault(copies + copy + read_own + "cp.async.wait_all;", copy_run(),
                 "read of an asynchronous copy in flight");
    expect_fault(copies + copy + "cp.async.wait_group 0;" + read_own, copy_run(), // no commit
                 "read of an asynchronous copy in flight");
    expect_fault(copies + copy + "st.shared.u32 [%s], 5; cp.async.wait_all;", copy_run(),
                 "write to an asynchronous copy in flight");
    expect_fault(copies + copy + "cp.async.commit_group;", copy_run(),
                 "exit with asynchronous copies in flight");
    expect_fault(copies + "add.u64 %g, %g, 8;" + copy + "cp.async.wait_all;", copy_run(),
                 "misaligned access");
    expect_fault(copies + "add.u64 %g, %g, 16;" + copy + "cp.async.wait_all;", copy_run(),
                 "out-of-bounds global read");
    // Waiting is not enough for the others: they need a barrier.
    expect_fault(copies + copy + "cp.async.wait_all; xor.b32 %s, %s, 16;" + read_own, copy_run(),
                 "race: read after write");
}

// ---- what is wrong with an access ----

Test(findings, bounds)
{
    expect_fault(".reg .b32 %v; ld.global.u32 %v, [%in+4];", with({1}),
                 "out-of-bounds global read");
    expect_fault("st.global.u32 [%out+128], %tid;", with({}), "out-of-bounds global write");
    expect_fault(".reg .b32 %v; .reg .b64 %a; mov.u64 %a, 16; ld.global.u32 %v, [%a];", with({1}),
                 "no allocation is there");
    expect_fault(".shared .b8 s[8]; .reg .b32 %v; ld.shared.u32 %v, [s+8];", with({}),
                 "out-of-bounds shared read");
    Run unchecked = with({1});
    unchecked.options.check = false;
    expect_fault(".reg .b32 %v; ld.global.u32 %v, [%in+4];", unchecked,
                 "out-of-bounds global read");
}
Test(findings, alignment)
{
    expect_fault(".reg .b32 %v; ld.global.u32 %v, [%in+2];", with({1, 2}), "misaligned access");
    expect_fault(".reg .b32 %v<2>; ld.global.v2.u32 {%v0, %v1}, [%in+4];", with({1, 2, 3, 4}),
                 "misaligned access");
    expect_fault(".shared .align 16 .b8 s[32]; st.shared.v4.u32 [s+8], {%tid, %tid, %tid, %tid};",
                 with({}), "misaligned access");
}
Test(findings, never_written)
{
    expect_fault(".shared .b8 s[128]; .reg .b32 %v; ld.shared.u32 %v, [s];", with({}),
                 "uninitialised read");
    expect_fault(
        ".shared .align 4 .b8 s[4]; .reg .b32 %v; st.shared.u16 [s], 1; ld.shared.u32 %v, [s];",
        with({}, 1, 1), "shared address 0x2");
    Device device((Options()));
    const u64 a = device.allocate(100);
    memset(device.bytes(a, 50, true), 1, 50);
    cr_assert(device.bytes(a, 50, false) == (char *)a);
    try {
        device.bytes(a, 51, false);
        cr_assert(false, "a byte never written was given out");
    } catch (const Fault &fault) {
        cr_assert(strstr(fault.what(), "byte 50 was never written"), "%s", fault.what());
    }
}
Test(findings, races)
{
    const std::string setup = ".shared .align 4 .b8 s[4]; .reg .b32 %v; .reg .pred %p;\n"
                              "setp.eq.u32 %p, %tid, 0;\n";
    expect_fault("st.global.u32 [%out], %tid;", with({}), "race: write after write");
    expect_fault(setup + "@%p st.shared.u32 [s], %tid; ld.shared.u32 %v, [s];", with({}),
                 "race: read after write");
    expect_fault(setup + "@%p st.shared.u32 [s], %tid; bar.sync 0; ld.shared.u32 %v, [s];\n"
                         "@%p st.shared.u32 [s], %tid;",
                 with({}, 32, 64), "race: write after read");
    // One thread after itself is in order; so are threads with a barrier in between.
    expect(setup + "@%p st.shared.u32 [s], 1; @%p st.shared.u32 [s], 2; bar.sync 0;\n"
                   "ld.shared.u32 %v, [s]; bar.sync 0; @%p st.shared.u32 [s], 3; bar.sync 0;\n"
                   "ld.shared.u32 %v, [s]; st.global.u32 [%dst], %v;",
           with({}, 64, 64), [](unsigned) { return 3; });
    // An atomic is in order with atomics, not with anything else.
    expect_fault(setup + "@%p st.shared.u32 [s], 0; bar.sync 0; red.shared.add.u32 [s], 1;\n"
                         "ld.shared.u32 %v, [s];",
                 with({}, 32, 64), "race: read after write");
    // Neighbouring bytes are different places, also within one word.
    expect(".reg .b64 %a; cvt.u64.u32 %a, %tid; add.u64 %a, %out, %a; st.global.u8 [%a], %tid;",
           with({}, 8), [](unsigned n) { return 0x03020100 + 0x04040404 * n; });
}
Test(findings, blocks) // of one launch are never in order; launches are
{
    Run run = with({}, 1);
    run.grid.x = 2;
    expect_fault(".reg .pred %p; setp.eq.u32 %p, %tid, 0; @%p st.global.u32 [%out], 5;", run,
                 "race: write after write");
    Device device((Options()));
    const auto module = device.load(
        whole_kernel(".reg .pred %p; setp.eq.u32 %p, %tid, 0; @%p st.global.u32 [%out], 5;"));
    const u64 a = device.allocate(4);
    const u32 mask = 0;
    const void *parameters[] = {&a, &a, &mask};
    const Kernel *k = device.find(*module, "test_kernel");
    device.launch(*k, {}, {32, 1, 1}, 0, parameters);
    device.launch(*k, {}, {32, 1, 1}, 0, parameters);
    cr_assert(*(u32 *)device.bytes(a, 4, false) == 5);
}

// ---- allocations ----

Test(allocations, limits)
{
    Options options;
    options.memory = 1 << 20;
    Device device(options);
    const u64 a = device.allocate(1 << 19), b = device.allocate(1 << 19);
    cr_assert(a && b && a % 256 == 0);
    cr_assert_eq(device.memory_free(), 0);
    cr_assert_eq(device.allocate(1), 0);
    u64 start;
    size_t size;
    cr_assert(device.find_allocation(b + 5, &start, &size));
    cr_assert(start == b && size == 1 << 19);
    cr_assert(device.release(a));
    cr_assert_not(device.release(a));
    cr_assert_not(device.release(b + 256));
    cr_assert_not(device.find_allocation(a, &start, &size));
    for (int n = 0; n < 100; n++) { // the range is used again and again
        const u64 c = device.allocate(1 << 19);
        cr_assert(c);
        cr_assert(device.release(c));
    }
}
Test(allocations, after_release)
{
    Device device((Options()));
    const auto module = device.load(whole_kernel("st.global.u32 [%dst], %tid;"));
    const u64 a = device.allocate(128);
    const u32 mask = 0;
    const void *parameters[] = {&a, &a, &mask};
    device.release(a);
    try {
        device.launch(*device.find(*module, "test_kernel"), {}, {32, 1, 1}, 0, parameters);
        cr_assert(false, "a write to freed memory went through");
    } catch (const Fault &fault) {
        cr_assert(strstr(fault.what(), "out-of-bounds global write"), "%s", fault.what());
    }
}
