/* test_arena.c - the layout code runs twice and takes the same bytes. */
#include "graft/arena.h"
#include "graft/ops.h"

#include <criterion/criterion.h>

static gf_tensor last;

static void layout(gf_arena *a)
{
    gf_take(a, GF_PART_WEIGHTS, "w", GF_Q4_1, 10, 64, 0);
    gf_take(a, GF_PART_ACT, "x", GF_F32, 3, 5, 7);
    const size_t mark = gf_mark(a, GF_PART_SCRATCH);
    gf_take(a, GF_PART_SCRATCH, "s1", GF_BF16, 1000, 0, 0);
    gf_release(a, GF_PART_SCRATCH, mark);
    last = gf_take(a, GF_PART_SCRATCH, "s2", GF_F32, 100, 0, 0);
}

Test(arena, planned_is_used)
{
    gf_backend be = {0};
    gf_arena a = {0};
    gf_err err = {0};
    layout(&a);
    cr_assert_null(last.data);
    const size_t planned = gf_arena_planned(&a);
    cr_assert_eq(planned, 512u + 512u + 2048u); /* 400, 420, max(2000, 400), each up to 256 */
    cr_assert_eq(gf_arena_commit(&a, &be, &err), GF_OK, "%s", err.text);
    layout(&a);
    cr_assert_not_null(last.data);
    cr_assert_eq((uintptr_t)last.data % GF_ALIGN, 0u);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(((float *)last.data)[i], 0.0f);
    cr_assert_eq(gf_arena_planned(&a), planned);
    for (int p = 0; p < GF_PARTS; p++)
        cr_assert_eq(a.part[p].peak, a.part[p].size, "%s", gf_part_name((gf_part)p));
    gf_arena_free(&a);
}

Test(arena, too_much_is_an_error)
{
    gf_backend be = {0};
    gf_arena a = {0};
    gf_err err = {0};
    for (int i = 0; i < 5; i++)
        gf_take(&a, GF_PART_ACT, "x", GF_F32, INT64_MAX / 4, 1000, 1000);
    cr_assert_eq(gf_arena_commit(&a, &be, &err), GF_ENOMEM);
    cr_assert_null(a.base);
    gf_arena_free(&a);
}
