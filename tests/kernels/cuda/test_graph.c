/* test_graph.c - captured passes: what a replay does, costs and keeps, and how captures end that
 * fail. */
#include "support/device_case.h"

#include "cuda/cuda.h"

#define LONG 4096

typedef struct {
    gf_backend be;
    device_tensor a;
    unsigned char host[LONG];
} setting;

static void start(setting *s)
{
    gf_err err = {0};
    memset(s, 0, sizeof *s);
    device_open(&s->be);
    s->a = (device_tensor){.bytes = LONG};
    cr_assert_eq(gf_backend_alloc(&s->be, &s->a.memory, LONG, &err), GF_OK, "%s", err.text);
}

static void end(setting *s)
{
    device_free(&s->be, &s->a);
    gf_backend_close(&s->be);
}

/* The pass: clears `bytes` from `at` on. */
static gf_status pass(setting *s, uint64_t key, size_t at, size_t bytes, bool *replayed)
{
    gf_backend *be = &s->be;
    TRY(gf_replay(be, key, replayed));
    if (*replayed)
        return GF_OK;
    TRY(gf_capture(be, key));
    const gf_status st = gf_cuda_clear(be, (char *)s->a.memory + at, bytes);
    const gf_status ends = gf_capture_end(be, st != GF_OK);
    return st != GF_OK ? st : ends;
}

static void fill(setting *s, int with)
{
    memset(s->host, with, LONG);
    DEVICE_OK(&s->be, gf_upload(&s->be, device_whole(&s->a), s->host));
}

static void expect(setting *s, size_t at, size_t bytes, int with)
{
    unsigned char want[LONG];
    memset(want, with, LONG);
    memset(want + at, 0, bytes);
    DEVICE_OK(&s->be, gf_download(&s->be, s->host, device_whole(&s->a)));
    DEVICE_OK(&s->be, gf_wait(&s->be));
    cr_assert(memcmp(s->host, want, LONG) == 0);
}

Test(graph, first_runs_and_later_ones_replay)
{
    setting s;
    bool replayed;
    start(&s);
    for (int i = 0; i < 3; i++) {
        fill(&s, 11 + i);
        const gf_tally before = s.be.tally;
        DEVICE_OK(&s.be, pass(&s, 77, 100, 1000, &replayed));
        cr_assert_eq(replayed, i > 0);
        cr_assert_eq(s.be.tally.launches - before.launches, 1);
        cr_assert_eq(s.be.tally.captured, 1);
        cr_assert_eq(s.be.tally.replayed, i);
        expect(&s, 100, 1000, 11 + i);
    }
    fill(&s, 99); /* another key, other launches */
    DEVICE_OK(&s.be, pass(&s, 78, 0, 4, &replayed));
    cr_assert_not(replayed);
    expect(&s, 0, 4, 99);
    fill(&s, 98);
    DEVICE_OK(&s.be, pass(&s, 77, 100, 1000, &replayed));
    cr_assert(replayed);
    expect(&s, 100, 1000, 98);
    end(&s);
}

/* Uploads made before a replay are what it reads, in stream order. */
Test(graph, order_with_uploads)
{
    setting s;
    bool replayed;
    start(&s);
    fill(&s, 1);
    DEVICE_OK(&s.be, pass(&s, 1, 0, 10, &replayed));
    for (int i = 0; i < 4; i++) {
        fill(&s, 2 + i);
        DEVICE_OK(&s.be, pass(&s, 1, 0, 10, &replayed));
    }
    expect(&s, 0, 10, 5);
    end(&s);
}

/* More keys than graphs are kept: the oldest go, and all still compute what they should. */
Test(graph, oldest_goes)
{
    setting s;
    bool replayed;
    start(&s);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 70; i++) {
            if (i % 23 == 0)
                fill(&s, 1 + i);
            DEVICE_OK(&s.be, pass(&s, (uint64_t)i, (size_t)i, 1, &replayed));
            cr_assert_not(replayed); /* always 64 others since */
        }
    expect(&s, 69, 1, 70); /* one pass since the last fill */
    end(&s);
}

Test(graph, recent_stays)
{
    setting s;
    bool replayed;
    start(&s);
    DEVICE_OK(&s.be, pass(&s, 1000, 0, 4, &replayed));
    for (int i = 0; i < 130; i++) {
        DEVICE_OK(&s.be, pass(&s, (uint64_t)i, 0, 4, &replayed));
        DEVICE_OK(&s.be, pass(&s, 1000, 0, 4, &replayed));
        cr_assert(replayed, "after %d others", i + 1);
    }
    cr_assert_eq(s.be.tally.captured, 131);
    cr_assert_eq(s.be.tally.replayed, 130);
    end(&s);
}

/* A pass that fails is dropped: it has done nothing, cost nothing, and the device goes on. */
Test(graph, failed_capture)
{
    setting s;
    bool replayed = true;
    start(&s);
    fill(&s, 5);
    const gf_tally before = s.be.tally;
    DEVICE_OK(&s.be, gf_capture(&s.be, 3));
    DEVICE_OK(&s.be, gf_cuda_clear(&s.be, s.a.memory, 100));
    cr_assert_eq(
        gf_cuda_launch(&s.be, "no such module", "k", (gf_dim){1, 1, 1}, (gf_dim){1, 1, 1}, 0, NULL),
        GF_EDEVICE);
    cr_assert(strstr(s.be.err.text, "no such module"), "%s", s.be.err.text);
    DEVICE_OK(&s.be, gf_capture_end(&s.be, true));
    cr_assert_eq(s.be.tally.launches, before.launches);
    expect(&s, 0, 0, 5);
    DEVICE_OK(&s.be, gf_replay(&s.be, 3, &replayed));
    cr_assert_not(replayed);
    DEVICE_OK(&s.be, pass(&s, 3, 0, 10, &replayed));
    expect(&s, 0, 10, 5);
    end(&s);
}

Test(graph, closing_in_the_middle)
{
    setting s;
    start(&s);
    DEVICE_OK(&s.be, gf_capture(&s.be, 3));
    DEVICE_OK(&s.be, gf_cuda_clear(&s.be, s.a.memory, 100));
    gf_backend_close(&s.be);
}

/* Copies and waits would be captured, or refused by the driver: they are refused here. */
Test(graph, no_copies_inside)
{
    setting s;
    start(&s);
    DEVICE_OK(&s.be, gf_capture(&s.be, 3));
    const char *want[] = {"an upload", "a download", "a wait", "a capture", "an allocation"};
    void *memory;
    gf_err err = {0};
    for (int i = 0; i < 5; i++) {
        s.be.err = (gf_err){0};
        const gf_status st = i == 0   ? gf_upload(&s.be, device_whole(&s.a), s.host)
                             : i == 1 ? gf_download(&s.be, s.host, device_whole(&s.a))
                             : i == 2 ? gf_wait(&s.be)
                             : i == 3 ? gf_capture(&s.be, 4)
                                      : gf_backend_alloc(&s.be, &memory, 8, &err);
        cr_assert_eq(st, GF_EDEVICE, "%s", want[i]);
        cr_assert(strstr(s.be.err.text, want[i]), "%s", s.be.err.text);
        cr_assert(strstr(s.be.err.text, "inside a captured pass"), "%s", s.be.err.text);
    }
    s.be.err = (gf_err){0};
    DEVICE_OK(&s.be, gf_capture_end(&s.be, true));
    DEVICE_OK(&s.be, gf_wait(&s.be));
    end(&s);
}

/* Where each op is looked at there is nothing to capture. */
Test(graph, none_while_checking)
{
    setting s;
    bool replayed = true;
    start(&s);
    s.be.check = true;
    for (int i = 0; i < 2; i++) {
        fill(&s, 3);
        DEVICE_OK(&s.be, pass(&s, 1, 0, 9, &replayed));
        cr_assert_not(replayed);
        expect(&s, 0, 9, 3);
    }
    cr_assert_eq(s.be.tally.captured, 0);
    end(&s);
}
