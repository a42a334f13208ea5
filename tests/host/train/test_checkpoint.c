/* test_checkpoint.c - what is saved comes back; which folders a run may write to; what
 * is pruned. */
#include "support/golden.h"
#include "support/program.h"
#include "train/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *dir, *scratch;
    gf_files files;
    gf_adapter adapter;
    gf_space space;
} bed;

/* Room for AdamW's state, which is also that of smaller ones. */
static void space_open(gf_space *s, int64_t size)
{
    s->memory = calloc((size_t)size * (1 + GF_MOMENTS), sizeof(float));
    s->value = s->memory;
    for (int i = 0; i < GF_MOMENTS; i++)
        s->moment[i] = s->value + size * (1 + i);
}

static bool bed_open(bed *b)
{
    gf_err err = {0};
    *b = (bed){.dir = golden_case(0)};
    if (!b->dir)
        return false;
    b->scratch = scratch_make();
    char *model = gf_format(NULL, "%s/model", b->dir),
         *ad = gf_format(NULL, "%s/adapter-init", b->dir);
    cr_assert_eq(gf_files_open(&b->files, model, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_adapter_open(&b->adapter, ad, &b->files.config, &err), GF_OK, "%s", err.text);
    space_open(&b->space, b->adapter.size);
    float *part[] = {b->space.value, b->space.moment[GF_MOMENT_M], b->space.moment[GF_MOMENT_V]};
    for (int p = 0; p < 3; p++)
        for (int64_t i = 0; i < b->adapter.size; i++)
            part[p][i] = (float)(i + p) / 7.0f;
    free(model);
    free(ad);
    return true;
}

static void bed_close(bed *b)
{
    gf_adapter_free(&b->adapter);
    gf_files_close(&b->files);
    gf_space_close(&b->space);
    scratch_remove(b->scratch);
    free(b->dir);
}

static gf_state state_of(bed *b, int64_t step, const char *identity)
{
    return (gf_state){.step = step, .identity = identity, .space = &b->space};
}

static gf_status save(bed *b, int64_t step, gf_err *err)
{
    const gf_state s = state_of(b, step, "{\"seed\":1,\"lr\":0.5}");
    return gf_checkpoint_save(&s, &b->adapter, b->scratch, err);
}

Test(checkpoint, comes_back)
{
    bed b;
    gf_err err = {0};
    char *path;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    cr_assert_eq(save(&b, 7, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_checkpoint_last(&path, b.scratch, &err), GF_OK);
    const size_t bytes = (size_t)b.adapter.size * sizeof(float);
    gf_space back = {0};
    space_open(&back, b.adapter.size);
    gf_state s = {.identity = "{\"seed\":1,\"lr\":0.5}", .space = &back};
    cr_assert_eq(gf_checkpoint_load(&s, &b.adapter, path, &err), GF_OK, "%s", err.text);
    cr_assert_eq(s.step, 7);
    cr_assert_eq(memcmp(back.memory, b.space.memory, 3 * bytes), 0); /* value, m, v */
    s.optim = GF_OPTIM_LION;
    cr_assert_eq(gf_checkpoint_load(&s, &b.adapter, path, &err), GF_EINPUT);
    cr_assert(strstr(err.text, "v is another type or shape"), "%s", err.text);
    s.optim = GF_OPTIM_ADAMW;
    err = (gf_err){0};
    s.identity = "{\"seed\":1,\"lr\":0.25}";
    cr_assert_eq(gf_checkpoint_load(&s, &b.adapter, path, &err), GF_EARG);
    cr_assert(strstr(err.text, "lr = 0.5"), "%s", err.text);
    gf_space_close(&back);
    free(path);
    bed_close(&b);
}

Test(checkpoint, a_nan_is_never_saved)
{
    bed b;
    gf_err err = {0};
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    ((float *)b.space.moment[GF_MOMENT_V])[b.adapter.size - 1] = NAN;
    cr_assert_eq(save(&b, 3, &err), GF_ENUMERIC);
    bool empty;
    cr_assert_eq(gf_dir_is_empty(b.scratch, &empty, NULL), GF_OK);
    cr_assert(empty);
    bed_close(&b);
}

Test(checkpoint, the_oldest_go)
{
    bed b;
    char *path;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    const int64_t steps[] = {9, 10, 100};
    for (int i = 0; i < 3; i++)
        cr_assert_eq(save(&b, steps[i], NULL), GF_OK);
    run(NULL, "mkdir %s/.checkpoint-7.tmp", b.scratch);
    cr_assert_eq(gf_checkpoint_prune(b.scratch, 2, 100, -1, NULL), GF_OK);
    cr_assert_eq(run(NULL, "test -e %s/.checkpoint-7.tmp", b.scratch), 1);
    cr_assert_eq(run(NULL, "test -e %s/checkpoint-9", b.scratch), 1);
    cr_assert_eq(run(NULL, "test -e %s/checkpoint-10", b.scratch), 0);
    cr_assert_eq(gf_checkpoint_last(&path, b.scratch, NULL), GF_OK);
    cr_assert(strstr(path, "checkpoint-100"));
    free(path);
    cr_assert_eq(save(&b, 11, NULL), GF_OK);
    cr_assert_eq(gf_checkpoint_prune(b.scratch, 2, 11, -1, NULL),
                 GF_OK); /* after going back to 10 */
    cr_assert_eq(
        run(NULL, "ls -A %s | tr '\\n' ' ' | grep -qx 'checkpoint-10 checkpoint-11 '", b.scratch),
        0);
    bed_close(&b);
}

Test(checkpoint, folders_a_run_may_write_to)
{
    gf_err err = {0};
    char *dir = scratch_make();
    cr_assert_eq(gf_output_dir_check("/nonexistent/new", false, &err), GF_OK);
    cr_assert_eq(gf_output_dir_check(dir, false, &err), GF_OK);
    run(NULL, "mkdir %s/checkpoint-3 && touch %s/run.json %s/metrics.jsonl", dir, dir, dir);
    cr_assert_eq(gf_output_dir_check(dir, false, &err), GF_EARG);
    cr_assert_eq(gf_output_dir_check(dir, true, &err), GF_OK);
    run(NULL, "touch %s/adapter_model.safetensors %s/tokenizer.json.tmp-7-0", dir, dir);
    err = (gf_err){0};
    cr_assert_eq(gf_output_dir_check(dir, true, &err), GF_OK);
    run(NULL, "mv %s/checkpoint-3 %s/checkpoint-03", dir, dir);
    cr_assert_eq(gf_output_dir_check(dir, true, &err), GF_EARG);
    cr_assert(strstr(err.text, "checkpoint-03"), "%s", err.text);
    run(NULL, "rmdir %s/checkpoint-03", dir);
    err = (gf_err){0};
    cr_assert_eq(gf_output_dir_check(dir, true, &err), GF_EARG);
    cr_assert(strstr(err.text, "holds an adapter"), "%s", err.text);
    run(NULL, "touch %s/thesis.txt", dir);
    err = (gf_err){0};
    cr_assert_eq(gf_output_dir_check(dir, true, &err), GF_EARG);
    cr_assert(strstr(err.text, "thesis.txt"), "%s", err.text);
    scratch_remove(dir);
}
