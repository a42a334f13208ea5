/* test_history.c - the best evaluation, how long there was no better one, and what is no history.
 */
#include "train/history.h"

#include <criterion/criterion.h>
#include <string.h>

static gf_history of(const double *loss, int64_t count, int64_t first)
{
    gf_history h = {0};
    for (int64_t i = 0; i < count; i++)
        cr_assert_eq(gf_history_add(&h, first + i, loss[i], NULL), GF_OK);
    return h;
}

Test(history, best_and_waited)
{
    /* EarlyStoppingCallback's counter after each of these, by hand */
    const double loss[] = {2.0, 1.5, 1.5, 1.45, 1.2, 1.3, 1.25, 1.21, 1.19};
    const int64_t waited[] = {0, 0, 1, 0, 0, 1, 2, 3, 0}, best[] = {0, 1, 1, 3, 4, 4, 4, 4, 8};
    const int64_t strict[] = {0, 0, 1, 2, 0, 1, 2, 3, 4}; /* threshold 0.1 */
    for (int64_t n = 1; n <= 9; n++) {
        gf_history h = of(loss, n, 3);
        cr_assert_eq(gf_history_waited(&h, 0), waited[n - 1]);
        cr_assert_eq(gf_history_waited(&h, 0.1), strict[n - 1]);
        cr_assert_eq(gf_history_best(&h), best[n - 1]);
        gf_history_free(&h);
    }
    gf_history h = {0};
    cr_assert(gf_history_best(&h) == -1 && gf_history_waited(&h, 0) == 0);
    h = of(loss + 4, 3, 0); /* the untrained model's does not count */
    cr_assert(gf_history_first(&h) == 1 && gf_history_best(&h) == 2);
    cr_assert_eq(gf_history_waited(&h, 0), 0);
    gf_history_free(&h);
}

Test(history, reads_back_exactly)
{
    const double loss[] = {1.0 / 3, 0.1, 5e-324, 1234567.875};
    gf_history h = of(loss, 4, 0), back = {0};
    gf_buf text = {0};
    cJSON *root;
    cr_assert_eq(gf_history_write(&h, &text, NULL), GF_OK);
    cr_assert_eq(gf_json_parse(&root, text.data, text.len, "h", 1, NULL), GF_OK);
    cr_assert_eq(gf_history_read(&back, root, 3, "h", NULL), GF_OK);
    cr_assert_eq(back.count, 4);
    cr_assert_eq(memcmp(back.loss, h.loss, sizeof loss) | memcmp(back.step, h.step, 32), 0);
    cJSON_Delete(root);
    gf_buf_free(&text);
    gf_history_free(&h);
    gf_history_free(&back);
}

Test(history, refusals)
{
    static const char *const bad[] = {
        "{}",          "[1]",         "[[1]]",      "[[1,2,3]]",     "[[\"1\",2]]",
        "[[1,\"2\"]]", "[[-1,2]]",    "[[1.5,2]]",  "[[2,1],[2,1]]", "[[2,1],[1,1]]",
        "[[11,2]]",    "[[1,1e999]]", "[[1,null]]", "[null]",        "[[1,2],[]]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gf_history h = {0};
        gf_err err = {0};
        cJSON *root;
        cr_assert_eq(gf_json_parse(&root, bad[i], strlen(bad[i]), "h", 1, &err), GF_OK);
        cr_expect_eq(gf_history_read(&h, root, 10, "state.json", &err), GF_EINPUT, "%s", bad[i]);
        cr_expect(strstr(err.text, "state.json: evaluations"), "%s", err.text);
        cJSON_Delete(root);
        gf_history_free(&h);
    }
}
