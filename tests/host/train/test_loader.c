/* test_loader.c - every example once an epoch, rows that hold, ranks that share the work. */
#include "train/loader.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 53, CAPACITY = 100 };

static gf_dataset made_data(void)
{
    gf_dataset d = {.count = COUNT, .entry = calloc(COUNT, sizeof *d.entry)};
    for (int i = 0; i < COUNT; i++)
        d.entry[i].length = 1 + (i * 31) % CAPACITY;
    return d;
}

/* Marks what the rank's rows of a step hold; checks that each row keeps to its capacity. */
static int64_t mark(const gf_loader *ld, int *seen)
{
    int64_t tokens = 0;
    for (int64_t r = 0; r < ld->rows; r++) {
        int64_t row = 0;
        for (int64_t i = ld->row[r]; i < ld->row[r + 1]; i++) {
            seen[ld->pick[i]]++;
            row += ld->data->entry[ld->pick[i]].length;
        }
        cr_assert_leq(row, CAPACITY);
        cr_assert_gt(row, 0);
        tokens += row;
    }
    return tokens;
}

static void check_epoch(int ranks, int64_t batch, bool shuffle, int64_t epoch)
{
    gf_dataset d = made_data();
    int seen[COUNT] = {0};
    for (int rank = 0; rank < ranks; rank++) {
        gf_loader ld;
        cr_assert_eq(gf_loader_open(&ld, &d, batch, 3, shuffle, rank, ranks, NULL), GF_OK);
        cr_assert_eq(ld.steps_per_epoch, (COUNT + batch - 1) / batch);
        for (int64_t s = 0; s < ld.steps_per_epoch; s++) {
            gf_loader_step(&ld, epoch * ld.steps_per_epoch + s, CAPACITY);
            mark(&ld, seen);
        }
        gf_loader_close(&ld);
    }
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(seen[i], 1, "%d ranks: example %d is taken %d times", ranks, i, seen[i]);
    free(d.entry);
}

Test(loader, every_example_once)
{
    for (int ranks = 1; ranks <= 4; ranks++)
        for (int64_t batch = 1; batch <= 60; batch += 13) {
            check_epoch(ranks, batch, true, 0);
            check_epoch(ranks, batch, true, 2);
            check_epoch(ranks, batch, false, 0);
        }
}

Test(loader, a_step_does_not_depend_on_those_before)
{
    gf_dataset d = made_data();
    gf_loader a, b;
    gf_loader_open(&a, &d, 8, 3, true, 0, 1, NULL);
    gf_loader_open(&b, &d, 8, 3, true, 0, 1, NULL);
    for (int64_t s = 0; s <= 15; s++)
        gf_loader_step(&a, s, CAPACITY);
    gf_loader_step(&b, 15, CAPACITY);
    cr_assert_eq(a.rows, b.rows);
    cr_assert_eq(memcmp(a.pick, b.pick, (size_t)a.row[a.rows] * sizeof *a.pick), 0);
    gf_loader_close(&a);
    gf_loader_close(&b);
    free(d.entry);
}

Test(loader, epochs_differ_and_file_order_is_kept_without_shuffle)
{
    gf_dataset d = made_data();
    gf_loader ld;
    gf_loader_open(&ld, &d, COUNT, 3, true, 0, 1, NULL);
    int64_t first[COUNT];
    gf_loader_step(&ld, 0, CAPACITY);
    memcpy(first, ld.order, sizeof first);
    gf_loader_step(&ld, 1, CAPACITY);
    cr_assert_neq(memcmp(first, ld.order, sizeof first), 0);
    gf_loader_close(&ld);

    int seen[COUNT] = {0};
    gf_loader_open(&ld, &d, 5, 3, false, 0, 1, NULL);
    gf_loader_step(&ld, 2, CAPACITY);
    mark(&ld, seen);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(seen[i], i >= 10 && i < 15);
    gf_loader_close(&ld);
    free(d.entry);
}

Test(loader, ranks_are_balanced)
{
    gf_dataset d = made_data();
    int64_t most = 0, least = INT64_MAX;
    int seen[COUNT] = {0};
    for (int rank = 0; rank < 3; rank++) {
        gf_loader ld;
        gf_loader_open(&ld, &d, COUNT, 3, true, rank, 3, NULL);
        gf_loader_step(&ld, 0, CAPACITY);
        const int64_t tokens = mark(&ld, seen);
        most = tokens > most ? tokens : most;
        least = tokens < least ? tokens : least;
        cr_assert_eq(gf_loader_most_tokens(&ld, 1) >= tokens, true);
        gf_loader_close(&ld);
    }
    /* Longest first, to the emptiest: no rank is behind by more than one example. */
    cr_assert_leq(most - least, CAPACITY);
    free(d.entry);
}

/* ---- weights ----------------------------------------------------------------------- */

enum { FIRST = 20 }; /* of the examples are the first source's, the rest the second's */

static gf_dataset weighted_data(gf_data_file source[2], double a, double b)
{
    gf_dataset d = made_data();
    for (int i = FIRST; i < COUNT; i++)
        d.entry[i].source = 1;
    source[0] = (gf_data_file){.examples = FIRST};
    source[1] = (gf_data_file){.examples = COUNT - FIRST};
    d.source = source;
    d.source_count = 2;
    cr_assert_eq(gf_dataset_weigh(&d, (double[]){a, b}, 2, NULL), GF_OK);
    return d;
}

static void take_epoch(const gf_dataset *d, int64_t epoch, int ranks, bool shuffle, int *seen)
{
    memset(seen, 0, COUNT * sizeof *seen);
    for (int rank = 0; rank < ranks; rank++) {
        gf_loader ld;
        cr_assert_eq(gf_loader_open(&ld, d, 7, 3, shuffle, rank, ranks, NULL), GF_OK);
        for (int64_t s = 0; s < ld.steps_per_epoch; s++) {
            gf_loader_step(&ld, epoch * ld.steps_per_epoch + s, CAPACITY);
            mark(&ld, seen);
        }
        gf_loader_close(&ld);
    }
}

Test(loader, weights_repeat_and_draw)
{
    gf_data_file source[2];
    gf_dataset d = weighted_data(source, 2.25, 0.5);
    int seen[COUNT], other[COUNT], first[COUNT];
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        int more = 0, drawn = 0;
        take_epoch(&d, epoch, 1, true, seen);
        for (int i = 0; i < FIRST; i++) {
            cr_assert(seen[i] == 2 || seen[i] == 3);
            more += seen[i] - 2;
        }
        for (int i = FIRST; i < COUNT; i++) {
            cr_assert(seen[i] == 0 || seen[i] == 1);
            drawn += seen[i];
        }
        cr_assert_eq(more, FIRST / 4);
        cr_assert_eq(drawn, 17); /* half of 33 */
        take_epoch(&d, epoch, 3, true, other);
        cr_assert_eq(memcmp(seen, other, sizeof seen), 0, "ranks change what is taken");
        take_epoch(&d, epoch, 1, false, other);
        cr_assert_eq(memcmp(seen, other, sizeof seen), 0, "the order changes what is taken");
        if (epoch == 0)
            memcpy(first, seen, sizeof first);
        else
            cr_assert_neq(memcmp(seen, first, sizeof seen), 0, "each epoch has a draw of its own");
    }
    free(d.entry);
}

Test(loader, weights_of_one_change_nothing)
{
    gf_data_file source[2];
    gf_dataset plain = made_data(), d = weighted_data(source, 1, 1);
    gf_loader a, b;
    gf_loader_open(&a, &plain, 8, 3, true, 0, 1, NULL);
    gf_loader_open(&b, &d, 8, 3, true, 0, 1, NULL);
    gf_loader_step(&a, 9, CAPACITY);
    gf_loader_step(&b, 9, CAPACITY);
    cr_assert_eq(memcmp(a.order, b.order, COUNT * sizeof *a.order), 0);
    gf_loader_close(&a);
    gf_loader_close(&b);
    free(plain.entry);
    free(d.entry);
}
