/* test_prometheus.c - the text exposition format, byte for byte. tests/host/train/watch_run.py has
 * Prometheus's own parser read what a run writes. */
#include "format/prometheus.h"

#include <criterion/criterion.h>
#include <math.h>

Test(prometheus, metrics_and_values)
{
    const gf_label label[] = {{"run", "C:\\a \"b\"\nc \u00e9"}, {"kind", ""}};
    gf_buf b = {0};
    gf_err err = {0};
    cr_assert_eq(gf_prometheus_metric(&b, "graft_loss", "gauge", "a \\ b\nc \"d\"", &err), GF_OK);
    cr_assert_eq(gf_prometheus_value(&b, "graft_loss", label, 2, 0.1, &err), GF_OK);
    cr_assert_eq(gf_prometheus_value(&b, "graft_loss", label + 1, 1, NAN, &err), GF_OK);
    cr_assert_eq(gf_prometheus_value(&b, "graft_loss", NULL, 0, -INFINITY, &err), GF_OK);
    cr_assert_eq(gf_prometheus_value(&b, "graft_loss", NULL, 0, INFINITY, &err), GF_OK);
    cr_assert_eq(gf_prometheus_value(&b, "graft_loss", NULL, 0, 3e20, &err), GF_OK);
    cr_expect_str_eq(b.data, "# HELP graft_loss a \\\\ b\\nc \"d\"\n"
                             "# TYPE graft_loss gauge\n"
                             "graft_loss{run=\"C:\\\\a \\\"b\\\"\\nc \u00e9\",kind=\"\"} 0.1\n"
                             "graft_loss{kind=\"\"} NaN\n"
                             "graft_loss -Inf\n"
                             "graft_loss +Inf\n"
                             "graft_loss 3e+20\n");
    gf_buf_free(&b);
}
