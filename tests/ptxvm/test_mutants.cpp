// The sample kernels are clean, whatever the order in which they run; every mistake in them is
// found: by the device, or by wrong results.
#include "sample_cases.h"
#include "samples.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fstream>
#include <map>
#include <sstream>

using namespace ptxvm;

static std::string text_of(const char *file)
{
    std::ifstream in(file);
    cr_assert(in.good(), "%s cannot be read", file);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

struct Mutant {
    char kernel[48];
};
#define ENTRY(family, m) {family "_" #m},
#define RMSNORM(m) ENTRY("rmsnorm", m)
#define GEMM(m) ENTRY("gemm", m)
#define FLASH(m) ENTRY("flash", m)
#define TRANSPOSE(m) ENTRY("transpose", m)
#define PIPELINE(m) ENTRY("pipeline", m)
#define SUM(m) ENTRY("sum", m)
static Mutant mutants[] = {RMSNORM_MUTANTS(RMSNORM) GEMM_MUTANTS(GEMM) FLASH_MUTANTS(
    FLASH) TRANSPOSE_MUTANTS(TRANSPOSE) PIPELINE_MUTANTS(PIPELINE) SUM_MUTANTS(SUM)};

ParameterizedTestParameters(mutants, found)
{
    return cr_make_param_array(Mutant, mutants, sizeof mutants / sizeof *mutants, nullptr);
}
ParameterizedTest(Mutant *mutant, mutants, found)
{
    const std::string name = mutant->kernel;
    const bool wrong = name.find("_none") == std::string::npos;
    Options options;
    options.memory = 1 << 26;
    Device device(options);
    std::string how;
    try {
        const auto module = device.load(text_of(PTXVM_SAMPLES_80));
        const Outcome outcome = run_sample(device, *module, name);
        if (!(outcome.error <= 1))
            how = "wrong results: " + std::to_string(outcome.error) + " times the bound";
    } catch (const Fault &fault) {
        how = fault.what();
        cr_assert(how.find("no kernel") == std::string::npos &&
                      how.find("cannot run here") == std::string::npos,
                  "%s", how.c_str());
    }
    cr_log_info("%s: %s\n", name.c_str(), how.c_str());
    cr_assert(wrong == !how.empty(), "%s: %s", name.c_str(), wrong ? "not found" : how.c_str());
}

// Four seeds, both schedulings, PTX for both architectures. What does not add floating-point
// numbers with atomics gives the same bits in all of them.
static void check_clean(const char *file, bool stress, bool check = true)
{
    const std::string ptx = text_of(file);
    std::map<std::string, std::vector<unsigned char>> first;
    for (unsigned seed = 1; seed <= 4; seed++) {
        Options options;
        options.memory = 1 << 26;
        options.seed = seed;
        options.stress = stress;
        options.check = check;
        Device device(options);
        const auto module = device.load(ptx);
        for (const std::string name : {"rmsnorm_none", "gemm_none", "flash_none", "transpose_none",
                                       "pipeline_none", "sum_none"}) {
            const Outcome outcome = run_sample(device, *module, name);
            cr_assert(outcome.error <= 1, "%s: %g times the bound", name.c_str(), outcome.error);
            if (name == "sum_none")
                continue;
            if (seed == 1)
                first[name] = outcome.results;
            cr_assert(first[name] == outcome.results, "%s: other bits with seed %u", name.c_str(),
                      seed);
        }
    }
}
Test(samples, sm_80)
{
    check_clean(PTXVM_SAMPLES_80, false);
}
Test(samples, sm_80_stress)
{
    check_clean(PTXVM_SAMPLES_80, true);
}
Test(samples, sm_90)
{
    check_clean(PTXVM_SAMPLES_90, false);
}
Test(samples, sm_90_stress)
{
    check_clean(PTXVM_SAMPLES_90, true);
}

Test(samples, bounds_only)
{
    check_clean(PTXVM_SAMPLES_80, false, false);
}

// The report of a run is the same for the same seed.
Test(samples, report)
{
    std::string reports[2];
    for (std::string &report : reports) {
        Device device((Options()));
        const auto module = device.load(text_of(PTXVM_SAMPLES_80));
        for (const char *name : {"gemm_none", "flash_none", "sum_none"})
            run_sample(device, *module, name);
        char text[4000] = "";
        FILE *out = fmemopen(text, sizeof text, "w");
        device.report(out);
        device.report_json(out);
        fclose(out);
        report = text;
    }
    cr_assert_str_eq(reports[0].c_str(), reports[1].c_str());
    cr_assert(reports[0].find("gemm_none") != std::string::npos);
}
