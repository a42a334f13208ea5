// Warp collectives, barriers and tensor instructions.
#include "opcode_test.h"

using namespace ptxvm;

static const Run numbers{counting(64), 32, {32, 1, 1}, {}, 0, {}};
static std::string with_value(const std::string &rest) // %v: the lane's word; %d goes out
{
    return ".reg .b32 %v, %d; .reg .pred %p, %q; ld.global.u32 %v, [%src];\n" + rest +
           "\nst.global.u32 [%dst], %d;";
}

// ---- shfl.sync: the ISA's formulas, lane by lane ----

static void check_shuffle(const std::string &mode, u32 b, u32 c)
{
    const std::string text = "shfl.sync." + mode + ".b32 %d|%p, %v, " + std::to_string(b) + ", " +
                             std::to_string(c) +
                             ", 0xffffffff; selp.u32 %v, 1000, 0, %p; "
                             "add.u32 %d, %d, %v;";
    expect_words(
        results_of(with_value(text), numbers),
        [&](unsigned lane) {
            const int l = (int)lane, bval = b & 31, cval = c & 31, mask = c >> 8 & 31;
            const int max_lane = (l & mask) | (cval & ~mask), min_lane = l & mask;
            int j = mode == "up"     ? l - bval
                    : mode == "down" ? l + bval
                    : mode == "bfly" ? l ^ bval
                                     : min_lane | (bval & ~mask);
            const bool p = mode == "up" ? j >= max_lane : j <= max_lane;
            return (u32)(p ? j + 1000 : l);
        },
        mode.c_str());
}
Test(warp, shfl_up)
{
    for (u32 b : {0u, 1u, 7u, 31u})
        for (u32 c : {0u, 0x1800u, 0x1c00u})
            check_shuffle("up", b, c);
}
Test(warp, shfl_down)
{
    for (u32 b : {0u, 1u, 7u, 31u})
        for (u32 c : {31u, 0x181fu, 0x1c1fu})
            check_shuffle("down", b, c);
}
Test(warp, shfl_bfly)
{
    for (u32 b : {1u, 2u, 16u, 31u})
        for (u32 c : {31u, 0x181fu})
            check_shuffle("bfly", b, c);
}
Test(warp, shfl_idx)
{
    for (u32 b : {0u, 5u, 31u})
        for (u32 c : {31u, 0x101fu, 0x1c1fu})
            check_shuffle("idx", b, c);
}
Test(warp, shfl_outside_the_mask)
{
    expect_fault(with_value("setp.lt.u32 %p, %lane, 16; mov.u32 %d, 0;\n"
                            "@%p shfl.sync.bfly.b32 %d, %v, 16, 31, 0x0000ffff;"),
                 numbers, "shuffle reads a lane outside the mask");
}

Test(warp, vote)
{
    const auto run = [](const std::string &rest) {
        return results_of(with_value("setp.gt.u32 %p, %v, 5;\n" + rest), numbers);
    };
    expect_words(
        run("vote.sync.ballot.b32 %d, %p, 0xffffffff;"), [](unsigned) { return 0xffffffc0; },
        "ballot");
    expect_words(
        run("vote.sync.ballot.b32 %d, !%p, 0xffffffff;"), [](unsigned) { return 0x3f; },
        "ballot of a negation");
    const char *kinds[] = {"any", "all", "uni"};
    for (int n = 0; n < 3; n++) {
        const std::string vote = std::string("vote.sync.") + kinds[n] + ".pred %q, %p, 0xffffffff;";
        expect_words(
            run(vote + "selp.u32 %d, 1, 0, %q;"), [n](unsigned) { return n == 0 ? 1u : 0u; },
            kinds[n]);
        expect_words(
            run("setp.ge.u32 %p, %v, 0;" + vote + "selp.u32 %d, 1, 0, %q;"),
            [](unsigned) { return 1u; }, kinds[n]);
    }
    // Half of the warp votes on its own.
    expect_words(
        run("setp.lt.u32 %q, %lane, 8; mov.u32 %d, 7;\n"
            "@%q vote.sync.ballot.b32 %d, %p, 0xff;"),
        [](unsigned lane) { return lane < 8 ? 0xc0u : 7u; }, "ballot of some");
}
Test(warp, redux)
{
    const struct {
        const char *op;
        u32 expected;
    } cases[] = {{"add.u32", 496 - 32 * 10},
                 {"add.s32", 496 - 320},
                 {"min.s32", (u32)-10},
                 {"max.s32", 21},
                 {"min.u32", 0},
                 {"max.u32", 0xffffffff},
                 {"and.b32", 0},
                 {"or.b32", 0xffffffff},
                 {"xor.b32", 0}};
    for (const auto &c : cases) {
        u32 expected = c.expected;
        if (std::string(c.op) == "xor.b32")
            for (u32 n = 0; n < 32; n++)
                expected ^= n - 10;
        expect_words(
            results_of(with_value(std::string("sub.u32 %v, %v, 10; redux.sync.") + c.op +
                                  " %d, %v, 0xffffffff;"),
                       numbers),
            [=](unsigned) { return expected; }, c.op);
    }
}
Test(warp, match)
{
    expect_words(
        results_of(with_value("and.b32 %v, %v, 3;\n"
                              "match.any.sync.b32 %d, %v, 0xffffffff;"),
                   numbers),
        [](unsigned lane) { return 0x11111111u << (lane & 3); }, "match.any");
    expect_words(
        results_of(with_value("match.all.sync.b32 %d|%p, %v, 0xffffffff;"), numbers),
        [](unsigned) { return 0u; }, "match.all of different values");
    expect_words(
        results_of(with_value("mov.u32 %v, 5; match.all.sync.b32 %d|%p, %v, 0xffffffff;\n"
                              "@!%p mov.u32 %d, 1;"),
                   numbers),
        [](unsigned) { return 0xffffffffu; }, "match.all");
}
Test(warp, activemask)
{
    expect_words(
        results_of(with_value("setp.lt.u32 %p, %lane, 3; mov.u32 %d, 0;\n"
                              "@%p activemask.b32 %d;"),
                   numbers),
        [](unsigned lane) { return lane < 3 ? 7u : 0u; }, "activemask");
}

// ---- divergence ----

Test(warp, loops_of_different_length)
{
    for (bool stress : {false, true})
        for (unsigned seed = 1; seed < 4; seed++) {
            Run run = numbers;
            run.options.stress = stress;
            run.options.seed = seed;
            expect_words(
                results_of(with_value("mov.u32 %d, 0;\nLOOP:\nsetp.eq.u32 %p, %v, 0;\n"
                                      "@%p bra DONE;\nadd.u32 %d, %d, %v;\n"
                                      "sub.u32 %v, %v, 1;\nbra.uni LOOP;\nDONE:\n"
                                      "bar.warp.sync 0xffffffff;\n"
                                      "shfl.sync.bfly.b32 %d, %d, 1, 31, 0xffffffff;"),
                           run),
                [](unsigned lane) {
                    const u32 n = lane ^ 1;
                    return n * (n + 1) / 2;
                },
                "loop");
        }
}
Test(warp, divergent_collective)
{
    expect_fault(with_value("setp.lt.u32 %p, %lane, 16; mov.u32 %d, 0;\n@!%p bra SKIP;\n"
                            "shfl.sync.bfly.b32 %d, %v, 1, 31, 0xffffffff;\nbra END;\nSKIP:\n"
                            "vote.sync.ballot.b32 %d, %p, 0xffffffff;\nEND:"),
                 numbers, "divergent warp collective");
    // Lanes that have exited may be named, but not read.
    const std::string half = "setp.lt.u32 %p, %lane, 16; mov.u32 %d, 0;\n"
                             "@%p st.global.u32 [%dst], %d; @%p exit;\n";
    expect_words(
        results_of(with_value(half + "shfl.sync.bfly.b32 %d, %v, 1, 31, 0xffffffff;\n"
                                     "vote.sync.ballot.b32 %v, !%p, 0xffffffff;\n"
                                     "popc.b32 %v, %v; add.u32 %d, %d, %v;"),
                   numbers),
        [](unsigned lane) { return lane < 16 ? 0 : (lane ^ 1) + 16; }, "half of a warp");
    expect_fault(with_value("setp.lt.u32 %p, %lane, 16; @%p exit;\n"
                            "shfl.sync.bfly.b32 %d, %v, 16, 31, 0xffffffff;"),
                 numbers, "shuffle reads a lane outside the mask");
    expect_fault(with_value("setp.lt.u32 %p, %lane, 16; selp.u32 %d, 0xffffffff, 0xfffffffe, %p;\n"
                            "vote.sync.ballot.b32 %d, %p, %d;"),
                 numbers, "with different masks");
    expect_fault(with_value("mov.u32 %d, 0; vote.sync.ballot.b32 %d, !%p, 0x7fffffff;"), numbers,
                 "lane is not in its own mask");
}

// ---- barriers ----

static Run of_threads(unsigned threads)
{
    Run run;
    run.in = counting(threads);
    run.block.x = threads;
    run.out_words = threads;
    return run;
}
static const char *const exchange = // each thread's word to the next thread, through shared memory
    ".shared .align 4 .b8 buffer[1024]; .reg .b32 %v, %a, %n; .reg .pred %p;\n"
    "ld.global.u32 %v, [%src]; mov.u32 %a, buffer; shl.b32 %n, %tid, 2; add.u32 %n, %a, %n;\n"
    "st.shared.u32 [%n], %v;\n";
static const char *const read_next =
    "mov.u32 %v, %ntid.x; add.u32 %n, %tid, 1; rem.u32 %n, %n, %v; shl.b32 %n, %n, 2;\n"
    "add.u32 %n, %a, %n; ld.shared.u32 %v, [%n]; st.global.u32 [%dst], %v;";

Test(barrier, sync)
{
    for (const char *barrier : {"bar.sync 0;", "barrier.sync 0;", "bar.sync 3;",
                                "barrier.cta.sync.aligned 5;", "bar.sync 1, 96;"})
        for (bool stress : {false, true}) {
            Run run = of_threads(96);
            run.options.stress = stress;
            expect_words(
                results_of(std::string(exchange) + barrier + read_next, run),
                [](unsigned n) { return (n + 1) % 96; }, barrier);
        }
}
Test(barrier, missing)
{
    expect_fault(std::string(exchange) + read_next, of_threads(96), "race: read after write");
}
Test(barrier, of_a_warp) // orders the lanes of a warp, not the warps
{
    const std::string body = std::string(exchange) + "bar.warp.sync 0xffffffff;" + read_next;
    expect_words(
        results_of(body, of_threads(32)), [](unsigned n) { return (n + 1) % 32; }, "warp");
    cr_assert(fault_of(body, of_threads(64)) != "");
}
Test(barrier, partial) // of two warps out of four: orders these two only
{
    const std::string pairs = std::string(exchange) +
                              ".reg .b32 %id; shr.u32 %id, %tid, 6; add.u32 %id, %id, 1;\n"
                              "bar.sync %id, 64;\n"
                              "xor.b32 %n, %tid, 32; shl.b32 %n, %n, 2; add.u32 %n, %a, %n;\n"
                              "ld.shared.u32 %v, [%n]; st.global.u32 [%dst], %v;";
    expect_words(
        results_of(pairs, of_threads(128)), [](unsigned n) { return n ^ 32; }, "pairs");
    const std::string others = std::string(exchange) +
                               ".reg .b32 %id; shr.u32 %id, %tid, 6; add.u32 %id, %id, 1;\n"
                               "bar.sync %id, 64;\n"
                               "xor.b32 %n, %tid, 64; shl.b32 %n, %n, 2; add.u32 %n, %a, %n;\n"
                               "ld.shared.u32 %v, [%n]; st.global.u32 [%dst], %v;";
    bool found = false; // as soon as the reader comes after the writer; before, it is uninitialised
    for (unsigned seed = 1; seed < 5; seed++) {
        Run run = of_threads(128);
        run.options.seed = seed;
        const std::string fault = fault_of(others, run);
        cr_assert(!fault.empty());
        found |= fault.find("race: ") != std::string::npos;
    }
    cr_assert(found);
}
Test(barrier, arrive) // the first warp hands over, the second waits
{
    const std::string body = std::string(exchange) +
                             "setp.lt.u32 %p, %tid, 32;\n@!%p bra WAIT;\n"
                             "bar.arrive 1, 64;\nbra.uni END;\nWAIT:\nbar.sync 1, 64;\n"
                             "sub.u32 %n, %tid, 32; shl.b32 %n, %n, 2; add.u32 %n, %a, %n;\n"
                             "ld.shared.u32 %v, [%n];\nEND:\nst.global.u32 [%dst], %v;";
    for (unsigned seed = 1; seed < 5; seed++) {
        Run run = of_threads(64);
        run.options.seed = seed;
        expect_words(
            results_of(body, run), [](unsigned n) { return n % 32; }, "arrive");
    }
}
Test(barrier, arriving_orders_nothing_for_the_one_who_arrives)
{
    bool found = false;
    for (unsigned seed = 1; seed < 9 && !found; seed++) {
        Run run = of_threads(64);
        run.options.seed = seed;
        found = fault_of(std::string(exchange) +
                             "setp.lt.u32 %p, %tid, 32;\n@!%p bra WAIT;\n"
                             "bar.arrive 1, 64;\nadd.u32 %n, %tid, 32; bra.uni READ;\n"
                             "WAIT:\nbar.sync 1, 64; sub.u32 %n, %tid, 32;\nREAD:\n"
                             "shl.b32 %n, %n, 2; add.u32 %n, %a, %n; ld.shared.u32 %v, [%n];\n"
                             "st.global.u32 [%dst], %v;",
                         run) != "";
    }
    cr_assert(found);
}
Test(barrier, red)
{
    const auto run = [](const std::string &op) {
        return results_of(".reg .b32 %d; .reg .pred %p, %q; setp.lt.u32 %p, %tid, 40;\n" + op +
                              "st.global.u32 [%dst], %d;",
                          of_threads(64));
    };
    expect_words(
        run("bar.red.popc.u32 %d, 0, %p;"), [](unsigned) { return 40; }, "popc");
    expect_words(
        run("bar.red.popc.u32 %d, 1, 64, !%p;"), [](unsigned) { return 24; }, "popc of not");
    expect_words(
        run("bar.red.and.pred %q, 0, %p; selp.u32 %d, 1, 0, %q;"), [](unsigned) { return 0; },
        "and");
    expect_words(
        run("bar.red.or.pred %q, 0, %p; selp.u32 %d, 1, 0, %q;"), [](unsigned) { return 1; }, "or");
}
Test(barrier, mistakes)
{
    expect_fault("bar.sync 1, 96;", of_threads(64), "deadlock: a barrier never completes");
    expect_fault("bar.sync 16;", of_threads(64), "barrier with a wrong number");
    expect_fault("bar.sync 1, 40;", of_threads(64), "barrier with a wrong number");
    expect_fault("bar.sync 1, 32;\n.reg .pred %p; setp.lt.u32 %p, %tid, 32;\n@%p bra END;\n"
                 "bar.sync 0;\nEND:\nret;",
                 of_threads(64), "barrier while other threads have exited");
    expect_fault(".reg .pred %p; setp.lt.u32 %p, %tid, 16;\n@%p bra END;\nbar.sync 0;\nEND:\nret;",
                 of_threads(64), "barrier");
    expect_fault(".reg .pred %p; setp.lt.u32 %p, %tid, 16;\n@%p bra OTHER;\nbar.sync 0;\nbra END;\n"
                 "OTHER:\nbar.sync 0;\nEND:\nret;",
                 of_threads(32), "barrier reached by part of a warp");
}
