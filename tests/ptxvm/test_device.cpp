// The device itself: options, limits of launches, copies, reports; and what its shadow memory knows
// about order in less common cases.
#include "opcode_test.h"
#include <cstdlib>
#include <unistd.h>

using namespace ptxvm;

static std::string fault_in(const std::function<void()> &f)
{
    try {
        f();
        return "";
    } catch (const Fault &fault) {
        return fault.what();
    }
}
static void expect_text(const std::string &text, const char *part)
{
    cr_assert(text.find(part) != std::string::npos, "\"%s\" is not in \"%s\"", part, text.c_str());
}

Test(device, options_from_the_environment)
{
    const Options plain = Options::from_environment();
    cr_assert(plain.check && !plain.stress && plain.seed == 1 && plain.memory == 4ull << 30);
    setenv("PTXVM_CHECK", "bounds", 1);
    setenv("PTXVM_STRESS", "1", 1);
    setenv("PTXVM_SEED", "7", 1);
    setenv("PTXVM_MEMORY", "0x1000000", 1);
    setenv("PTXVM_REPORT", "a file", 1);
    const Options set = Options::from_environment();
    cr_assert(!set.check && set.stress && set.seed == 7 && set.memory == 1 << 24);
    cr_assert_str_eq(set.report.c_str(), "a file");
    setenv("PTXVM_SEED", "seven", 1);
    expect_text(fault_in([] { Options::from_environment(); }), "PTXVM_SEED=seven: not a number");
    setenv("PTXVM_SEED", "7", 1);
    setenv("PTXVM_CHECK", "none", 1);
    expect_text(fault_in([] { Options::from_environment(); }), "full or bounds");
}

Test(device, report_file) // appended to, a line a kernel
{
    char name[] = "ptxvm_reportXXXXXX";
    close(mkstemp(name));
    Options options;
    options.report = name;
    const u32 mask = 0;
    for (int n = 0; n < 2; n++) {
        Device device(options);
        cr_assert_str_eq(device.options().report.c_str(), name);
        const auto module = device.load(whole_kernel(""));
        const u64 a = 0;
        const void *parameters[] = {&a, &a, &mask};
        device.launch(*device.find(*module, "test_kernel"), {}, {32, 1, 1}, 0, parameters);
    }
    FILE *in = fopen(name, "r");
    char line[500];
    int lines = 0;
    while (fgets(line, sizeof line, in)) {
        expect_text(line, "{\"kernel\":\"test_kernel\",\"launches\":1,");
        lines++;
    }
    fclose(in);
    unlink(name);
    cr_assert_eq(lines, 2);
}

Test(device, launch_limits)
{
    Device device((Options()));
    const auto module = device.load(whole_kernel(""));
    const Kernel *k = device.find(*module, "test_kernel");
    const u64 a = 0;
    const u32 mask = 0;
    const void *parameters[] = {&a, &a, &mask};
    for (const Dim block : {Dim{0, 1, 1}, Dim{1025, 1, 1}, Dim{32, 33, 1}})
        expect_text(fault_in([&] { device.launch(*k, {}, block, 0, parameters); }),
                    "threads a block");
    expect_text(fault_in([&] {
                    device.launch(*k, {0, 1, 1}, {32, 1, 1}, 0, parameters);
                }),
                "a launch of");
}

Test(device, copies)
{
    Device device((Options()));
    const u64 a = device.allocate(100);
    expect_text(fault_in([&] { device.bytes(a, 101, true); }), "the allocation ends after 100");
    expect_text(fault_in([&] { device.bytes(a - 8, 4, true); }), "no allocation is there");
    expect_text(fault_in([&] { device.bytes(a, 1, false); }), "byte 0 was never written");
    cr_assert_str_eq(fault_in([&] { device.bytes(a, 0, false); }).c_str(), "");
    // Pieces that begin and end within a word.
    device.bytes(a + 1, 2, true);
    device.bytes(a + 7, 10, true);
    expect_text(fault_in([&] { device.bytes(a, 4, false); }), "byte 0 was");
    expect_text(fault_in([&] { device.bytes(a + 1, 4, false); }), "byte 2 was");
    device.bytes(a + 3, 4, true);
    device.bytes(a + 1, 16, false);
    expect_text(fault_in([&] { device.bytes(a + 1, 17, false); }), "byte 16 was");
    Options unchecked;
    unchecked.check = false;
    Device plain(unchecked);
    const u64 b = plain.allocate(100);
    cr_assert_eq((unsigned char)*plain.bytes(b, 100, false), 0xff); // no number at all
    expect_text(fault_in([&] { plain.bytes(b, 101, false); }), "the allocation ends after 100");
}

Test(device, several_at_once)
{
    Device one((Options())), two((Options()));
    const u64 a = one.allocate(4);
    one.bytes(a, 4, true);
    expect_text(fault_in([&] { two.bytes(a, 4, true); }), "no allocation is there");
}

Test(device, what_is_no_module)
{
    const std::string head = ".version 8.0\n.target sm_80\n.address_size 64\n";
    Device device((Options()));
    for (const std::string &text : std::vector<std::string>{
             "", head + ".entry k() {", head + ".entry k() { mov.u32 %r, 5;",
             head + "something { }", head + ".global .align 4 .u32 x = y;",
             head + ".global .align 4 .u32 x[1] = {1, 2};", head + ".global .align 4 .u99 x;"})
        cr_assert(fault_in([&] { device.load(text); }) != "", "%s", text.c_str());
    const auto module = device.load(head + "/* .entry no() {} */ // .entry no() {}\n"
                                           ".func f(.param .u32 x);\n.entry k()\n{ ; ; ret; }\n"
                                           ".section .debug_str { .b8 1, 2 }\n");
    cr_assert(device.find(*module, "k") && !device.find(*module, "no"));
}

// ---- order ----

static Run of_threads(unsigned threads, unsigned seed = 1)
{
    Run run;
    run.in = counting(threads);
    run.block.x = threads;
    run.out_words = threads;
    run.options.seed = seed;
    return run;
}
// Two warps read what a third will overwrite, and meet it at a barrier of 96 of 128 threads.
static const std::string readers =
    ".shared .align 4 .b8 s[4]; .reg .b32 %v, %w; .reg .pred %p, %q;\n"
    "setp.eq.u32 %p, %tid, 64; @%p st.shared.u32 [s], 5; bar.sync 0;\n"
    "mov.u32 %v, 0; setp.ge.u32 %q, %tid, 96; @%q bra END;\n"
    "setp.lt.u32 %q, %tid, 64; @%q ld.shared.u32 %v, [s];\n";
Test(order, several_readers_and_a_partial_barrier)
{
    for (unsigned seed = 1; seed < 4; seed++) {
        expect_words(
            results_of(readers + "bar.sync 1, 96; @%p st.shared.u32 [s], 6;\nEND:\n"
                                 "st.global.u32 [%dst], %v;",
                       of_threads(128, seed)),
            [](unsigned n) { return n < 64 ? 5 : 0; }, "partial barrier");
        // A barrier with one of the readers only is not enough.
        cr_assert(fault_of(readers + ".reg .b32 %id; setp.ge.u32 %q, %tid, 32;\n"
                                     "@%q bar.sync 1, 64; @%p st.shared.u32 [s], 6;\nEND:",
                           of_threads(128, seed)) != "");
    }
}
Test(order, several_atomics_then_a_read)
{
    const std::string body = ".shared .align 4 .b8 s[4]; .reg .b32 %v; .reg .pred %p;\n"
                             "setp.eq.u32 %p, %tid, 0; @%p st.shared.u32 [s], 0; bar.sync 0;\n"
                             "red.shared.add.u32 [s], 1;\n";
    expect_words(
        results_of(body + "bar.sync 0; ld.shared.u32 %v, [s]; st.global.u32 [%dst], %v;",
                   of_threads(128)),
        [](unsigned) { return 128; }, "with a barrier");
    // The last to add reads its own warp's sum, but the others' are not in order.
    for (unsigned seed = 1; seed < 4; seed++)
        expect_fault(body + "bar.warp.sync 0xffffffff; ld.shared.u32 %v, [s];",
                     of_threads(128, seed), "race: ");
}
Test(order, parts_of_a_word)
{
    // Written by halves, by different threads; then as a whole, then by bytes.
    const char *body =
        ".shared .align 4 .b8 s[128]; .reg .b32 %v, %a, %h; .reg .pred %p;\n"
        "mov.u32 %a, s; shl.b32 %h, %tid, 1; add.u32 %h, %a, %h; st.shared.u16 [%h], %tid;\n"
        "bar.sync 0; setp.lt.u32 %p, %tid, 16; shl.b32 %v, %tid, 2; add.u32 %v, %a, %v;\n"
        "@%p ld.shared.u32 %h, [%v]; @%p add.u32 %h, %h, 1; @%p st.shared.u32 [%v], %h;\n"
        "bar.sync 0; add.u32 %v, %a, %tid; ld.shared.u8 %v, [%v]; st.global.u32 [%dst], %v;";
    expect_words(
        results_of(body, of_threads(32)),
        [](unsigned n) {
            const u32 half = n / 2;
            return n % 2 ? 0 : half + (half % 2 == 0);
        },
        "halves");
    // Neighbouring halves do not disturb each other, the same half does.
    expect_fault(".shared .align 4 .b8 s[128]; .reg .b32 %a, %h; mov.u32 %a, s;\n"
                 "and.b32 %h, %tid, 30; add.u32 %a, %a, %h; st.shared.u16 [%a], %tid;",
                 of_threads(32), "race: write after write");
}
Test(order, barriers_with_different_numbers)
{
    expect_fault(".reg .pred %p; setp.lt.u32 %p, %tid, 32;\n@%p bar.sync 1, 64;\n"
                 "@!%p bar.sync 1, 128;",
                 of_threads(64), "barrier with different numbers of threads");
}

// ---- special registers ----

Test(device, special_registers)
{
    const struct {
        const char *name;
        std::function<u32(unsigned)> value;
    } cases[] = {
        {"%ntid.z", [](unsigned) { return 1; }},
        {"%nctaid.z", [](unsigned) { return 1; }},
        {"%nwarpid", [](unsigned) { return 2; }},
        {"%smid", [](unsigned) { return 0; }},
        {"%nsmid", [](unsigned) { return 1; }},
        {"%lanemask_eq", [](unsigned n) { return 1u << n % 32; }},
        {"%lanemask_lt", [](unsigned n) { return (1u << n % 32) - 1; }},
        {"%lanemask_le", [](unsigned n) { return (2u << n % 32) - 1; }},
        {"%lanemask_gt", [](unsigned n) { return ~((2u << n % 32) - 1); }},
        {"%lanemask_ge", [](unsigned n) { return ~((1u << n % 32) - 1); }},
        {"%dynamic_smem_size", [](unsigned) { return 256; }},
        {"%total_smem_size", [](unsigned) { return 256; }},
    };
    for (const auto &c : cases) {
        Run run = of_threads(64);
        run.dynamic_shared = 256;
        expect_words(results_of(std::string(".reg .b32 %v; mov.u32 %v, ") + c.name +
                                    "; st.global.u32 [%dst], %v;",
                                run),
                     c.value, c.name);
    }
    results_of(".reg .b64 %w; .reg .b32 %v; mov.u64 %w, %clock64; mov.u32 %v, %clock;\n"
               "mov.u64 %w, %globaltimer;",
               of_threads(32));
    expect_fault(".reg .b64 %w; mov.u64 %w, %laneid;", of_threads(32), "cannot run here");
}
