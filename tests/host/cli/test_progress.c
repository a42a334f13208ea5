/* test_progress.c - lines for a pipe, the bar's text. */
#include "cli/progress.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(progress, a_pipe_gets_a_line_every_n_steps_and_after_the_last)
{
    char *data = NULL;
    size_t size = 0;
    gf_progress p;
    FILE *f = tmpfile();
    cr_assert(f);
    gf_progress_start(&p, f, 0, 5, 2);
    cr_expect(!p.terminal);
    for (int64_t s = 1; s <= 5; s++)
        gf_progress_step(&p, &(gf_progress_point){s, (double)s / 5, 1.5, 2e-4, 612.3});
    gf_progress_note(&p, "eval loss %.2f", 1.25);
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

Test(progress, the_bar_and_the_time_left_follow_from_the_steps_of_this_start)
{
    const gf_progress p = {.first = 4, .total = 12};
    char text[256];
    gf_progress_text(&p, &(gf_progress_point){6, 0.5, 2, 1e-3, 10}, 10, 10, text, sizeof text);
    cr_expect(!strncmp(text, "[#####.....] step 6/12", 22), "%s", text);
    cr_expect(strstr(text, "30 s left"), "%s", text);
    gf_progress_text(&p, &(gf_progress_point){4, 0.5, 2, 1e-3, 10}, 10, 0, text, sizeof text);
    cr_expect(strstr(text, "? left") && text[0] == 's', "%s", text);
}
