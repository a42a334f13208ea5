/* test_exposition.c - a run's numbers for Prometheus: what is not known is not there. */
#include "train/exposition.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect(const gf_exposition *e, const char *const *parts, bool there)
{
    gf_buf b = {0};
    cr_assert_eq(gf_exposition_text(e, &b, NULL), GF_OK);
    for (; *parts; parts++)
        cr_expect_eq(strstr(b.data, *parts) != NULL, there, "%s in\n%s", *parts, b.data);
    gf_buf_free(&b);
}

Test(exposition, before_the_first_step)
{
    static const char *const here[] = {
        "graft_info{run=\"out \\\"1\\\"\",version=\"0.1\",model=\"m\"} 1\n",
        "# TYPE graft_running gauge\ngraft_running{run=\"out \\\"1\\\"\"} 1\n",
        "graft_steps_planned{run=\"out \\\"1\\\"\"} 10\n",
        "graft_memory_bytes{run=\"out \\\"1\\\"\",kind=\"planned\"} 4096\n", NULL};
    static const char *const not [] = {"graft_loss", "graft_eval", "graft_gpu", "kind=\"used\"",
                                       NULL};
    const gf_exposition e = {.run = "out \"1\"",
                             .version = "0.1",
                             .model = "m",
                             .total = 10,
                             .planned = 4096,
                             .running = true};
    expect(&e, here, true);
    expect(&e, not, false);
}

Test(exposition, all_of_it)
{
    static const char *const here[] = {
        "# HELP graft_loss Loss of the last step before its update\n# TYPE graft_loss gauge\n"
        "graft_loss{run=\"r\"} 1.25\n",
        "# TYPE graft_tokens_total counter\ngraft_tokens_total{run=\"r\"} 900\n",
        "graft_machine_share_ratio{run=\"r\"} 0.5\n",
        "graft_eval_loss{run=\"r\"} 2\n",
        "graft_gpu_utilization_ratio{run=\"r\"} 0.97\n",
        "graft_gpu_memory_bytes{run=\"r\",kind=\"total\"} 80\n"
        "graft_gpu_memory_bytes{run=\"r\",kind=\"used\"} 20\n",
        NULL};
    const gf_exposition e = {.run = "r",
                             .version = "0.1",
                             .model = "m",
                             .loss = 1.25,
                             .tokens = 900,
                             .share = 0.5,
                             .limit = 1e9,
                             .eval_loss = 2,
                             .stepped = true,
                             .evaluated = true,
                             .device = {.busy = 97, .memory = 80, .memory_used = 20}};
    expect(&e, here, true);
}
