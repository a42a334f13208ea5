/* golden.c - see golden.h. */
#include "support/golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const golden_names[] = {
    "llama-gqa",           "llama3-rope-tied", "mistral-window", "qwen2-bias",    "qwen3-qknorm",
    "llama-dora",          "llama-outer",      "llama-saved",    "gemma-mqa",     "gemma-plain",
    "gemma2-softcap",      "gemma3-qknorm",    "phi3-fused",     "phi3-longrope", "smollm3-nope",
    "granite-multipliers", "olmo2-postnorm"};
const int golden_count = sizeof golden_names / sizeof *golden_names;

char *golden_case(int i)
{
    static const char *const roots[] = {GRAFT_TESTS "/golden/cases", GRAFT_SHARED "/golden"};
    for (size_t r = 0; r < sizeof roots / sizeof *roots; r++)
        for (int n = 0; n < golden_count; n++) {
            char *path = gf_format(NULL, "%s/%s", roots[r], golden_names[n]);
            if (path && gf_dir_exists(path) && i-- == 0)
                return path;
            free(path);
        }
    return NULL;
}

void *golden_tensor(const gf_source *s, const char *name, int64_t *count)
{
    gf_err err = {0};
    const gf_entry *e = gf_source_find(s, name);
    cr_assert(e, "%s is not in %s", name, s->file[0].path);
    void *data = malloc(e->bytes);
    cr_assert_eq(gf_source_read(s, e, 0, data, e->bytes, &err), GF_OK, "%s", err.text);
    *count = (int64_t)(e->bytes / 4);
    return data;
}

double golden_distance(const float *a, const float *b, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return sqrt(d) / sqrt(s);
}

double golden_max(const float *a, const float *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}
