/* test_measure.c - timers of a CPU, and what a machine without a monitor answers. */
#include "support/op_case.h"

#include "graft/measure.h"

#include <time.h>

Test(measure, a_cpu_times_what_passes)
{
    gf_backend be = {0};
    gf_timer timer = {0};
    double seconds = -1;
    cr_assert_eq(gf_timer_start(&be, &timer), GF_OK);
    const struct timespec pause = {.tv_nsec = 20000000};
    nanosleep(&pause, NULL);
    cr_assert_eq(gf_timer_stop(&be, &timer, &seconds), GF_OK);
    cr_assert(seconds >= 0.02 && seconds < 60, "%g s", seconds);
    gf_timer_close(&be, &timer);
}

Test(measure, a_cpu_has_no_monitor)
{
    gf_backend be = {0};
    gf_device_state state = {.clock = 1};
    gf_err err = {0};
    cr_assert_eq(gf_device_look(&be, &state, &err), GF_EMISSING);
    cr_assert_str_eq(err.text, "a CPU has no NVML");
    cr_assert_eq(state.clock, 0);
}
