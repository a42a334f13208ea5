/* test_gauge.c - a CPU has no gauge; the test device's monitor library is asked and told apart. */
#include "train/gauge.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(gauge, a_cpu_has_none)
{
    gf_backend be = {0};
    gf_err err = {0};
    gf_gauge *g;
    cr_assert_eq(gf_backend_open_cpu(&be, 1, "plain", &err), GF_OK, "%s", err.text);
    cr_expect_eq(gf_gauge_open(&g, &be, &err), GF_EMISSING);
    cr_expect_null(g);
    gf_gauge_close(g);
    gf_backend_close(&be);
}

/* What tests/ptxvm/standin_nvml.c says. */
Test(gauge, a_device_is_asked)
{
    gf_backend be = {0};
    gf_err err = {0};
    gf_gauge *g;
    gf_device_state now = {0};
    if (!getenv("PTXVM_DEVICES"))
        cr_skip_test("only on the test device");
    cr_assert_eq(gf_backend_open_cuda(&be, 0, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_gauge_open(&g, &be, &err), GF_OK, "%s", err.text);
    gf_gauge_read(g, &now);
    cr_expect_eq(now.busy, 97);
    cr_expect_eq(now.watts, 312);
    cr_expect_eq(now.watts_most, 700);
    cr_expect_eq(now.celsius, 61);
    cr_expect_eq(now.clock, 1755);
    cr_expect_eq(now.memory, (uint64_t)80 << 30);
    cr_expect_eq(now.memory_used, (uint64_t)2 << 30);
    cr_expect(!now.throttled);
    gf_gauge_close(g);
    gf_backend_close(&be);
}
