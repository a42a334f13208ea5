/* test_progress.c - lines for a pipe; a terminal's line at every width. */
#include "cli/progress.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(progress, a_pipe_gets_a_line_every_n_steps_and_after_the_last)
{
    char *data = NULL;
    size_t size = 0;
    gf_progress p;
    FILE *f = tmpfile();
    cr_assert(f);
    gf_progress_start(&p, f, 0, 5, 2, 0);
    cr_expect(!p.terminal);
    for (int64_t s = 1; s <= 5; s++)
        gf_progress_step(&p, &(gf_progress_point){.step = s,
                                                  .epoch = (double)s / 5,
                                                  .loss = 1.5,
                                                  .learning_rate = 2e-4,
                                                  .tokens_per_second = 612.3});
    gf_progress_doing(&p, "evaluate");
    gf_progress_eval(&p, 1.25);
    gf_progress_note(&p, "eval loss %.2f", 1.25);
    gf_progress_end(&p);
    gf_progress_end(&p);
    rewind(f);
    static const char *const starts[] = {
        "step 2/5  epoch 0.40  loss 1.5000  lr 0.0002  612 tokens/s", "step 4/5", "step 5/5",
        "eval loss 1.25"};
    for (int i = 0; i < 4; i++) {
        cr_assert(getline(&data, &size, f) > 0);
        cr_expect(!strncmp(data, starts[i], strlen(starts[i])), "%s", data);
        cr_expect(!strchr(data, '\033') && !strchr(data, '\r'));
    }
    cr_expect(getline(&data, &size, f) < 0);
    free(data);
    fclose(f);
}

/* Six of twelve steps in ten seconds, four of them before this start. */
static gf_progress half_way(void)
{
    return (gf_progress){
        .first = 4,
        .total = 12,
        .planned = (uint64_t)3 << 30,
        .stepped = 10,
        .smooth_sum = 6,
        .smooth_weight = 3,
        .eval = 2.25,
        .doing = "step",
        .at = {.step = 6,
               .epoch = 0.5,
               .loss = 1.75,
               .learning_rate = 1e-3,
               .tokens_per_second = 812,
               .share = 0.384,
               .memory = (uint64_t)2 << 30,
               .device = {.busy = 97, .watts = 312, .celsius = 61, .memory = (uint64_t)80 << 30}}};
}

/* Characters of UTF-8 text; all of these are one column wide. */
static int columns_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xC0) != 0x80;
    return n;
}

Test(progress, a_line_is_never_wider_than_the_terminal)
{
    char text[4 * 240 + 1];
    for (int utf8 = 0; utf8 <= 1; utf8++)
        for (int columns = 8; columns <= 240; columns++) {
            gf_progress p = half_way();
            p.utf8 = utf8;
            const int width = gf_progress_line(&p, 11, columns, text, sizeof text);
            cr_expect(width <= columns, "%d of %d columns: %s", width, columns, text);
            cr_expect_eq(width, columns_of(text), "%d columns: %s", columns, text);
            cr_expect(columns < 10 || strstr(text, "step  6/12"), "%s", text);
        }
}

Test(progress, what_is_asked_for_most_stays)
{
    char text[4 * 240 + 1];
    gf_progress p = half_way();
    gf_progress_line(&p, 11, 60, text, sizeof text);
    cr_expect_str_eq(text, "step  6/12  [#####......]  loss 2.0000  812 tok/s  29 s left");
    gf_progress_line(&p, 11, 200, text, sizeof text);
    cr_expect_str_eq(
        text, "step  6/12  [####################....................]  50%  loss 2.0000  "
              "last 1.7500  eval 2.2500  lr 0.001  812 tok/s  38% of limit  mem 2.0/3.0 GiB  "
              "GPU 97% 312 W 61 C  epoch 0.50  29 s left");
    p.at.step = 12;
    gf_progress_line(&p, 11, 60, text, sizeof text);
    cr_expect(strstr(text, "####]") && !strstr(text, ".]"), "%s", text);
}

Test(progress, the_bar_grows_by_eighths)
{
    char text[4 * 240 + 1];
    gf_progress p = {.total = 160, .doing = "save", .at = {.step = 0}, .eval = NAN, .utf8 = true};
    int width = gf_progress_line(&p, 0, 31, text, sizeof text);
    cr_expect_eq(width, 31);
    cr_expect_str_eq(text, "save   0/160  \u2595               \u258f");
    p.at.step = 10;
    gf_progress_line(&p, 0, 23, text, sizeof text);
    cr_expect(strstr(text, "save  10/160"), "%s", text);
    p.total = 80;
    p.at.step = 1;
    p.first = 1;
    width = gf_progress_line(&p, 0, 22, text, sizeof text); /* 8 cells of 80 steps: 0.1 of one */
    cr_expect_eq(width, 22);
    cr_expect_str_eq(text, "save  1/80  \u2595        \u258f");
    p.at.step = p.first = 25; /* 2.5 of 8 cells */
    gf_progress_line(&p, 0, 22, text, sizeof text);
    cr_expect_str_eq(text, "save 25/80  \u2595\u2588\u2588\u258c     \u258f");
}

Test(progress, before_the_first_step_nothing_is_made_up)
{
    char text[4 * 240 + 1];
    gf_progress p = {.total = 12, .first = 4, .at = {.step = 4}, .eval = NAN, .doing = "evaluate"};
    gf_progress_line(&p, 3, 200, text, sizeof text);
    cr_expect_str_eq(text, "evaluate  4/12  [#############...........................]");
    gf_progress_plain(&p, 3, text, sizeof text);
    cr_expect(strstr(text, "? left"), "%s", text);
}
