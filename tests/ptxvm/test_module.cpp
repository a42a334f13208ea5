// Modules: variables, calls, control flow, what is refused; the report; determinism.
#include "opcode_test.h"
#include <algorithm>

using namespace ptxvm;

static std::vector<u32> run_module(const std::string &before, const std::string &body, size_t words,
                                   unsigned threads = 32)
{
    Device device((Options()));
    std::string text = whole_kernel(body);
    text.insert(text.find(".visible"), before);
    const auto module = device.load(text);
    const u64 out = device.allocate(4 * words);
    memset(device.bytes(out, 4 * words, true), 0, 4 * words);
    const u32 mask = 0;
    const void *parameters[] = {&out, &out, &mask};
    device.launch(*device.find(*module, "test_kernel"), {}, {threads, 1, 1}, 0, parameters);
    const u32 *got = (const u32 *)device.bytes(out, 4 * words, false);
    return std::vector<u32>(got, got + words);
}

Test(module, variables)
{
    const char *variables = ".const .align 4 .u32 table[4] = {10, 20, 30, 40};\n"
                            ".global .align 4 .f32 scale = 0f40000000;\n"
                            ".global .align 8 .b8 bytes[4] = {1, 2, 3, 4};\n"
                            ".shared .align 4 .b8 common[128];\n";
    expect_words(
        run_module(variables,
                   ".reg .b32 %v, %w; .reg .b64 %a, %g; and.b32 %v, %tid, 3; mov.u64 %a, table;\n"
                   "mul.wide.u32 %g, %v, 4; add.u64 %a, %a, %g; ld.const.u32 %v, [%a];\n"
                   "ld.global.f32 %w, [scale]; cvt.rzi.u32.f32 %w, %w; mul.lo.u32 %v, %v, %w;\n"
                   "ld.global.u8 %w, [bytes+2]; add.u32 %v, %v, %w; cvt.u32.u64 %w, %four;\n"
                   "st.shared.u32 [common], 5; ld.const.u32 %w, [table+4];\n"
                   "add.u32 %v, %v, %w; st.global.u32 [%dst], %v;",
                   1, 1),
        [](unsigned) { return 2 * 10 + 3 + 20; }, "variables");
    Device device((Options()));
    const auto module =
        device.load(".version 8.0\n.target sm_80\n.address_size 64\n" + std::string(variables));
    u64 address;
    size_t size;
    cr_assert(device.find_variable(*module, "table", &address, &size));
    cr_assert_eq(size, 16);
    cr_assert_eq(((u32 *)device.bytes(address, 16, false))[3], 40);
    cr_assert_not(device.find_variable(*module, "tables", &address, &size));
}

Test(module, calls) // expanded in place; a return inside leaves the function only
{
    const char *functions =
        ".func (.param .b32 result) half_or_triple (.param .b32 x, .param .b64 where)\n{\n"
        ".reg .b32 %v; .reg .pred %p; .reg .b64 %a;\nld.param.u32 %v, [x]; and.b32 %v, %v, 1;\n"
        "setp.eq.u32 %p, %v, 0; ld.param.u32 %v, [x];\n@%p bra EVEN;\nmul.lo.u32 %v, %v, 3;\n"
        "st.param.b32 [result], %v;\nret;\nEVEN:\nshr.u32 %v, %v, 1;\nst.param.b32 [result], %v;\n"
        "ret;\n}\n";
    expect_words(
        run_module(functions,
                   ".reg .b32 %v;\nmov.u32 %v, %tid;\n"
                   "{ .param .b32 p0; st.param.b32 [p0], %v; .param .b64 p1;\n"
                   "st.param.b64 [p1], %out; .param .b32 r0;\n"
                   "call.uni (r0), half_or_triple, (p0, p1);\nld.param.b32 %v, [r0]; }\n"
                   "{ .param .b32 p0; st.param.b32 [p0], %v; .param .b64 p1;\n"
                   "st.param.b64 [p1], %out; .param .b32 r0;\n"
                   "call.uni (r0), half_or_triple, (p0, p1);\nld.param.b32 %v, [r0]; }\n"
                   "st.global.u32 [%dst], %v;",
                   32),
        [](unsigned n) {
            const auto f = [](u32 x) { return x % 2 ? 3 * x : x / 2; };
            return f(f(n));
        },
        "calls");
}

// An unknown instruction, or an unknown part of one, costs its kernel and no other.
Test(module, what_is_not_implemented)
{
    Device device((Options()));
    std::string text = whole_kernel("wgmma.fence.sync.aligned;");
    text.replace(text.find("test_kernel"), 11, "new_kernel1");
    text += whole_kernel("st.global.u32 [%dst], %tid;").substr(text.find(".visible"));
    const auto module = device.load(text);
    const u64 out = device.allocate(128);
    const u32 mask = 0;
    const void *parameters[] = {&out, &out, &mask};
    device.launch(*device.find(*module, "test_kernel"), {}, {32, 1, 1}, 0, parameters);
    try {
        device.launch(*device.find(*module, "new_kernel1"), {}, {32, 1, 1}, 0, parameters);
        cr_assert(false, "an unknown instruction was executed");
    } catch (const Fault &fault) {
        cr_assert(strstr(fault.what(), "new_kernel1") && strstr(fault.what(), "wgmma"), "%s",
                  fault.what());
    }
    for (const char *body :
         {".reg .f32 %f; add.rq.f32 %f, %f, %f;", ".reg .b32 %v; add.u32 %v, %v, %unknown;",
          ".reg .b32 %v; add.u32 %v, %v;", ".reg .b32 %v; .reg .b64 %w; add.u64 %w, %w, %v;",
          "bra NOWHERE;", ".reg .b32 %v; ld.strange.u32 %v, [%in];"})
        expect_fault(body, {}, "cannot run here");
    try {
        device.load("ELF");
        cr_assert(false, "something was loaded that is not PTX");
    } catch (const Fault &) {
    }
    cr_assert_null(device.find(*module, "no_such_kernel"));
}

Test(module, attributes)
{
    Device device((Options()));
    const auto module = device.load(
        ".version 8.0\n.target sm_80\n.address_size 64\n"
        ".entry k(.param .u8 a, .param .align 8 .b8 s[24], .param .u64 .ptr .align 16 p)\n"
        ".maxntid 32, 4, 1\n.minnctapersm 2\n{\n.shared .align 16 .b8 x[40];\n"
        ".local .align 8 .b8 y[24];\nret;\n}\n");
    const Kernel *k = device.find(*module, "k");
    cr_assert(k);
    cr_assert_eq(Device::parameter_count(*k), 3);
    cr_assert_eq(Device::parameter_size(*k, 0), 1);
    cr_assert_eq(Device::parameter_size(*k, 1), 24);
    cr_assert_eq(Device::parameter_size(*k, 2), 8);
    cr_assert_eq(Device::shared_bytes(*k), 40);
    cr_assert_eq(Device::local_bytes(*k), 24);
    cr_assert_eq(Device::max_threads(*k), 128);
    cr_assert_str_eq(Device::name(*k).c_str(), "k");
}

Test(module, special_registers)
{
    Run run;
    run.block = {4, 3, 5};
    run.grid = {2, 3, 2};
    run.out_words = 12 * 60;
    const auto got = results_of(
        ".reg .b32 %v, %w, %n, %b; .reg .b64 %a;\n"
        "mov.u32 %v, %tid.z; mov.u32 %w, %ntid.y; mov.u32 %n, %tid.y; mad.lo.u32 %v, %v, %w, %n;\n"
        "mov.u32 %w, %ntid.x; mov.u32 %n, %tid.x; mad.lo.u32 %v, %v, %w, %n;\n" // thread
        "mov.u32 %b, %ctaid.z; mov.u32 %w, %nctaid.y; mov.u32 %n, %ctaid.y;\n"
        "mad.lo.u32 %b, %b, %w, %n; mov.u32 %w, %nctaid.x; mov.u32 %n, %ctaid.x;\n"
        "mad.lo.u32 %b, %b, %w, %n; mad.lo.u32 %n, %b, 60, %v; mul.wide.u32 %a, %n, 4;\n"
        "add.u64 %a, %out, %a; mov.u32 %w, %laneid; mad.lo.u32 %n, %w, 1000, %n;\n"
        "mov.u32 %w, %warpid; mad.lo.u32 %n, %w, 100000, %n; mov.u32 %w, %lanemask_lt;\n"
        "popc.b32 %w, %w; mad.lo.u32 %n, %w, 1000000, %n; st.global.u32 [%a], %n;",
        run);
    expect_words(
        got,
        [](unsigned n) {
            const u32 thread = n % 60;
            return n + 1000 * (thread % 32) + 100000 * (thread / 32) + 1000000 * (thread % 32);
        },
        "special registers");
}

Test(module, trap)
{
    expect_fault("trap;", {}, "trap");
}

// ---- reports ----

static std::string report_of(const std::string &body, size_t shared)
{
    Device device((Options()));
    const auto module = device.load(whole_kernel(body));
    const u64 a = device.allocate(4096 * 4);
    memset(device.bytes(a, 4096 * 4, true), 0, 4096 * 4);
    const u32 mask = 0;
    const void *parameters[] = {&a, &a, &mask};
    device.launch(*device.find(*module, "test_kernel"), {}, {32, 1, 1}, shared, parameters);
    char text[1000] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    device.report_json(out);
    fclose(out);
    return text;
}
static void expect_counts(const std::string &body, const char *part)
{
    const std::string report = report_of(body, 8192);
    cr_assert(report.find(part) != std::string::npos, "%s: %s is not in %s", body.c_str(), part,
              report.c_str());
}
Test(counters, banks)
{
    const std::string setup =
        ".extern .shared .align 16 .b8 s[]; .reg .b32 %a, %n; mov.u32 %a, s;\n";
    const auto stride = [&](int bytes, const char *store) {
        return setup + "mul.lo.u32 %n, %lane, " + std::to_string(bytes) +
               "; add.u32 %a, %a, %n;\n" + store;
    };
    expect_counts(stride(4, "st.shared.u32 [%a], 1;"),
                  "\"shared_wavefronts\":1,\"shared_ideal\":1,");
    expect_counts(stride(8, "st.shared.u32 [%a], 1;"),
                  "\"shared_wavefronts\":2,\"shared_ideal\":1,");
    expect_counts(stride(128, "st.shared.u32 [%a], 1;"),
                  "\"shared_wavefronts\":32,\"shared_ideal\":1,");
    expect_counts(stride(132, "st.shared.u32 [%a], 1;"),
                  "\"shared_wavefronts\":1,\"shared_ideal\":1,");
    expect_counts(stride(8, "st.shared.u64 [%a], 1;"),
                  "\"shared_wavefronts\":2,\"shared_ideal\":2,");
    expect_counts(stride(16, "st.shared.v4.u32 [%a], {1, 1, 1, 1};"),
                  "\"shared_wavefronts\":4,\"shared_ideal\":4,");
    expect_counts(stride(128, "st.shared.v4.u32 [%a], {1, 1, 1, 1};"),
                  "\"shared_wavefronts\":32,\"shared_ideal\":4,");
}
Test(counters, sectors)
{
    const auto stride = [](int bytes) {
        return ".reg .b32 %n; .reg .b64 %a; mul.wide.u32 %a, %lane, " + std::to_string(bytes) +
               "; add.u64 %a, %a, %in;\nld.global.u32 %n, [%a];";
    };
    expect_counts(stride(4), "\"global_sectors\":4,\"global_ideal\":4,");
    expect_counts(stride(8), "\"global_sectors\":8,\"global_ideal\":4,");
    expect_counts(stride(128), "\"global_sectors\":32,\"global_ideal\":4,");
    expect_counts(stride(0), "\"global_sectors\":1,\"global_ideal\":1,");
    expect_counts("", "\"global_sectors\":0,");
}

// The same seed: the same report. Other seeds: another order, the same results.
Test(module, deterministic)
{
    const char *body =
        ".reg .b32 %v, %old; .reg .pred %p; .reg .b64 %a;\n"
        "mov.u32 %v, %ctaid.x; mad.lo.u32 %v, %v, 64, %tid;\n"
        "atom.global.add.u32 %old, [%out], 1; add.u32 %old, %old, 0x11111113;\n" // from 0xeeeeeeee
        "mul.wide.u32 %a, %old, 4; add.u64 %a, %out, %a; st.global.u32 [%a], %v;";
    std::vector<std::vector<u32>> orders;
    for (unsigned seed : {1u, 1u, 2u, 3u})
        for (bool stress : {false, true}) {
            Run run;
            run.block.x = 64;
            run.grid.x = 4;
            run.out_words = 257;
            run.options.seed = seed;
            run.options.stress = stress;
            orders.push_back(results_of(body, run));
        }
    cr_assert(orders[0] == orders[2] && orders[1] == orders[3], "the same seed");
    cr_assert(orders[0] != orders[4] && orders[4] != orders[6], "other seeds");
    for (auto &order : orders) {
        std::sort(order.begin(), order.end());
        cr_assert(order == orders[0]);
    }
}
