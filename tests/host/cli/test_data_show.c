/* test_data_show.c - an example turn by turn, trained tokens marked. */
#include "cli/data_show.h"

#include <criterion/criterion.h>

static void expect(bool color, const gf_turns *turns, const char *want)
{
    int32_t ids[] = {1, 2, 3, 4, 5}, labels[] = {1, -100, -100, 4, 5};
    const gf_example e = {
        .ids = ids, .labels = labels, .length = 5, .trained = 2, .file = "d.jsonl", .line = 3};
    gf_data_view v = {.color = color};
    gf_err err = {0};
    cr_assert_eq(gf_data_show(&v, 0, &e, turns, &err), GF_OK, "%s", err.text);
    cr_expect_str_eq(v.out.data, want);
    gf_buf_free(&v.out);
}

Test(data_show, plain_and_colored)
{
    gf_turn turn[] = {{"user", 2}, {"assistant", 9}}; /* the second was cut off */
    const gf_turns none = {0}, two = {.turn = turn, .count = 2};
    expect(false, &none, "--- example 0, d.jsonl:3, 5 tokens, 2 trained\n1 2 3 [[4 5]]\n");
    expect(false, &two,
           "--- example 0, d.jsonl:3, 5 tokens, 2 trained\n-- turn 1, user: 0 of 2 tokens "
           "trained\n1 2\n-- turn 2, assistant: 2 of 3 tokens trained\n3 [[4 5]]\n");
    expect(true, &none,
           "\x1b[2m--- example 0, d.jsonl:3, 5 tokens, 2 trained\x1b[0m\n1 2 3 \x1b[32m4 "
           "5\x1b[0m\n");
}
