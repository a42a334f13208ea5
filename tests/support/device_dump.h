/* device_dump.h - what a device made, as golden vectors: under GRAFT_DEVICE_DUMP=DIR every test of
 * a twin appends a sample of each tensor that it brings back to DIR/SUITE.TEST.txt. tools/dumps.py
 * compares two such folders: a GPU's and the test device's (tools/gpu-check.sh). */
#ifndef GRAFT_TESTS_DEVICE_DUMP_H
#define GRAFT_TESTS_DEVICE_DUMP_H

#include "support/op_case.h"

#include <stdio.h>

#define DUMP_TENSORS 48 /* of a test */
#define DUMP_VALUES 24  /* of a tensor, spread over it */

static inline double dump_value(gf_tensor t, int64_t at)
{
    const int64_t row = at / gf_width(t), column = at % gf_width(t);
    if (t.dtype == GF_I64) /* gradients in fixed point; 2^-40 is the scale of most */
        return (double)((const int64_t *)op_row(t, row))[column] * 0x1p-40;
    return op_get(t, row, column);
}

/* "name type elements most: value value ...": `most` is the greatest magnitude of all. */
static inline void device_dump(gf_tensor t)
{
    static int written;
    const char *dir = getenv("GRAFT_DEVICE_DUMP");
    const bool numbers =
        t.dtype == GF_F32 || t.dtype == GF_BF16 || t.dtype == GF_I32 || t.dtype == GF_I64;
    if (!dir || !numbers || gf_count(t) == 0 || written++ >= DUMP_TENSORS)
        return;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.%s.txt", dir, criterion_current_test->category,
             criterion_current_test->name);
    FILE *f = fopen(path, written == 1 ? "w" : "a");
    cr_assert_not_null(f, "%s: cannot be written", path);
    const int64_t count = gf_count(t), step = count / DUMP_VALUES + 1;
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, isfinite(dump_value(t, i)) ? fabs(dump_value(t, i)) : 0);
    fprintf(f, "%s %s %lld %.9g:", t.name ? t.name : "unnamed", gf_dtype_name(t.dtype),
            (long long)count, most);
    for (int64_t i = 0; i < count; i += step)
        fprintf(f, " %.9g", dump_value(t, i));
    fprintf(f, "\n");
    cr_assert_eq(fclose(f), 0, "%s: cannot be written", path);
}

#endif
