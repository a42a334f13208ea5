/* test_ranks.c - law 3 for ranks over TCP: the same adapter, byte for byte, for any number of them;
 * and what becomes of the others when one of them dies, over TCP and under mpirun. On the CPU; with
 * GRAFT_TEST_DEVICE=cuda on devices, as many as GRAFT_TEST_DEVICES says. */
#include "support/golden.h"
#include "support/processes.h"
#include "support/program.h"
#include "support/small_model.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A run that hangs is killed after that; what the contract promises after a death. */
enum { LIMIT = 120000, PROMISED = 10000 };

typedef struct {
    char *dir, *model, *data, *options, *first; /* first: the adapter of one rank */
} bed;

/* Where the run computes. Long enough that a rank can be killed in the middle, with a checkpoint at
 * each of its 60 steps; where a test device executes the kernels one instruction at a time, 9. */
typedef struct {
    const char *options;
    int devices;       /* at most so many ranks */
    int epochs, midst; /* lines of metrics.jsonl in the midst */
} place;

static bool on_devices(void)
{
    const char *device = getenv("GRAFT_TEST_DEVICE");
    return device && !strcmp(device, "cuda");
}

static place place_of_test(void)
{
    const char *devices = getenv("GRAFT_TEST_DEVICES");
    if (!on_devices())
        return (place){"--threads 1 --device cpu", 4, 20, 8};
    return (place){"--device cuda --precision fp32", devices ? atoi(devices) : 1, 3, 3};
}

static char *base_options(void)
{
    const place p = place_of_test();
    return gf_format(NULL,
                     "--batch-size 4 --num-train-epochs %d --lora-r 4 --lora-dropout 0.1 "
                     "--learning-rate 1e-3 --warmup-steps 1 --seed 5 --save-steps 1 %s",
                     p.epochs, p.options);
}

static bool bed_open(bed *b)
{
    char *dir = golden_case(0), *text;
    if (!dir)
        return false;
    *b = (bed){.dir = scratch_make(), .model = gf_format(NULL, "%s/model", dir)};
    b->data = small_tokens(b->dir, 11, 29, on_devices() ? 40 : 120);
    b->options = base_options();
    b->first = gf_format(NULL, "%s/one/adapter_model.safetensors", b->dir);
    free(dir);
    const int code = run(&text, GRAFT_BIN " train --model %s --data %s --output-dir %s/one %s",
                         b->model, b->data, b->dir, b->options);
    cr_assert_eq(code, 0, "%s", text);
    free(text);
    return true;
}

static void bed_close(bed *b)
{
    scratch_remove(b->dir);
    free(b->model);
    free(b->data);
    free(b->options);
    free(b->first);
}

static void same_as_first(const bed *b, const char *name)
{
    char *path = gf_format(NULL, "%s/%s/adapter_model.safetensors", b->dir, name);
    cr_assert(same_bytes(b->first, path), "other bytes: %s", name);
    free(path);
}

/* ---- the program as several processes -------------------------------------------------------- */

typedef struct {
    const bed *b;
    const char *command, *name; /* "train", its folder */
    const char *more;
    int size, port;
    bool by_options;
    int victim; /* -1: none; killed in the midst */
} team;

static char *line_of(const team *t, int rank)
{
    char *ranks = t->by_options
                      ? gf_format(NULL, "--rank %d --world-size %d --rendezvous localhost:%d", rank,
                                  t->size, t->port)
                      : gf_format(NULL, "%s", "");
    char *line =
        gf_format(NULL, "exec " GRAFT_BIN " %s --model %s --data %s %s %s >%s/%s.%d 2>&1",
                  t->command, t->b->model, t->b->data, t->more, ranks, t->b->dir, t->name, rank);
    free(ranks);
    return line;
}

static void set_number(const char *name, int value)
{
    char text[32];
    snprintf(text, sizeof text, "%d", value);
    setenv(name, text, 1);
}

static void wait_for_the_midst(const team *t)
{
    char *metrics = gf_format(NULL, "%s/%s/metrics.jsonl", t->b->dir, t->name), *count;
    for (int i = 0; i < 20000; i++) {
        run_stdout(&count, "cat %s 2>/dev/null | wc -l", metrics);
        const bool enough = atoi(count) >= place_of_test().midst;
        free(count);
        if (enough)
            break;
        sleep_ms(2);
    }
    free(metrics);
}

static void be_rank(int i, process *own, void *ctx)
{
    team *t = ctx;
    if (!t->by_options) {
        set_number("RANK", i);
        set_number("WORLD_SIZE", t->size);
        set_number("MASTER_PORT", t->port);
        setenv("MASTER_ADDR", "127.0.0.1", 1);
    }
    char *line = line_of(t, i);
    const pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    int state;
    if (i == t->victim) {
        wait_for_the_midst(t);
        kill(child, SIGKILL);
    }
    waitpid(child, &state, 0);
    own->ms = clock_ms();
    own->status = WIFEXITED(state) ? WEXITSTATUS(state) : -WTERMSIG(state);
}

static char *output_of(const team *t, int rank)
{
    char *text;
    run(&text, "cat %s/%s.%d", t->b->dir, t->name, rank);
    return text;
}

static void run_team(team *t, process p[MOST_PROCESSES])
{
    t->port = free_port();
    processes_run(t->size, be_rank, t, LIMIT, p);
}

static void expect_success(team *t)
{
    process p[MOST_PROCESSES];
    run_team(t, p);
    for (int r = 0; r < t->size; r++) {
        char *text = output_of(t, r);
        cr_assert_eq(p[r].status, 0, "rank %d: %d: %s", r, p[r].status, text);
        free(text);
    }
}

Test(ranks, over_tcp_the_same_bytes, .timeout = 300)
{
    bed b;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    for (int n = 2; n <= 4 && n <= place_of_test().devices; n++) {
        char *name = gf_format(NULL, "tcp%d", n);
        char *more = gf_format(NULL, "--output-dir %s/%s %s", b.dir, name, b.options);
        team t = {.b = &b,
                  .command = "train",
                  .name = name,
                  .more = more,
                  .size = n,
                  .by_options = n == 3,
                  .victim = -1};
        expect_success(&t);
        same_as_first(&b, name);
        free(name);
        free(more);
    }
    bed_close(&b);
}

Test(ranks, evaluate_together, .timeout = 300)
{
    bed b;
    char *one, *two;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    cr_assert_eq(run_stdout(&one, GRAFT_BIN " eval --model %s --data %s --adapter %s/one --json %s",
                            b.model, b.data, b.dir, place_of_test().options),
                 0);
    char *more = gf_format(NULL, "--adapter %s/one --json %s", b.dir, place_of_test().options);
    team t = {.b = &b,
              .command = "eval",
              .name = "eval",
              .more = more,
              .size = 2,
              .by_options = true,
              .victim = -1};
    expect_success(&t);
    two = output_of(&t, 0);
    cr_expect_str_eq(one, two);
    free(two);
    two = output_of(&t, 1);
    cr_expect_str_eq(two, "", "rank 1 says nothing");
    free(one);
    free(two);
    free(more);
    bed_close(&b);
}

/* What cannot work is refused with 2 before anything is done. */
Test(ranks, that_differ_are_refused, .timeout = 300)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    int code = run(&text,
                   GRAFT_BIN " train --model %s --data %s --output-dir %s/no %s --rank 1 "
                             "--world-size 2",
                   b.model, b.data, b.dir, b.options);
    cr_expect_eq(code, 2, "%s", text);
    cr_expect(strstr(text, "--rendezvous HOST:PORT"), "%s", text);
    free(text);
    code = run(&text,
               "RANK=1 WORLD_SIZE=2 " GRAFT_BIN " merge --model %s --adapter %s/one "
               "--output-dir %s/no",
               b.model, b.dir, b.dir);
    cr_expect_eq(code, 2, "%s", text);
    cr_expect(strstr(text, "2 ranks"), "%s", text);
    free(text);
    bed_close(&b);
}

Test(ranks, that_are_more_than_devices_are_refused, .timeout = 300)
{
    bed b;
    process p[MOST_PROCESSES];
    const int n = place_of_test().devices + 1;
    if (!on_devices() || n > MOST_PROCESSES)
        cr_skip_test("not on devices");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    char *more = gf_format(NULL, "--output-dir %s/more %s", b.dir, b.options), want[80];
    team t = {.b = &b, .command = "train", .name = "more", .more = more, .size = n, .victim = -1};
    run_team(&t, p);
    snprintf(want, sizeof want, "%d ranks share the %d device", n, n - 1);
    for (int r = 0; r < n; r++) {
        char *text = output_of(&t, r);
        cr_expect_eq(p[r].status, 2, "rank %d: %d: %s", r, p[r].status, text);
        cr_expect(strstr(text, want), "rank %d: %s", r, text);
        free(text);
    }
    free(more);
    bed_close(&b);
}

/* ---- a rank that dies ------------------------------------------------------------------------ */

static int lines_with(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void kill_one(const bed *b, int victim)
{
    char name[16], line[64];
    process p[MOST_PROCESSES];
    snprintf(name, sizeof name, "killed%d", victim);
    snprintf(line, sizeof line, "graft: rank %d of 3, on ", victim);
    char *more = gf_format(NULL, "--output-dir %s/%s %s", b->dir, name, b->options);
    team t = {.b = b, .command = "train", .name = name, .more = more, .size = 3, .victim = victim};
    run_team(&t, p);
    cr_assert_eq(p[victim].status, -SIGKILL, "the victim ended with %d", p[victim].status);
    for (int r = 0; r < 3; r++) {
        char *text = output_of(&t, r);
        if (r != victim) {
            cr_expect_eq(p[r].status, 1, "rank %d: %d: %s", r, p[r].status, text);
            cr_expect(p[r].ms - p[victim].ms < PROMISED, "rank %d took %lld ms", r,
                      (long long)(p[r].ms - p[victim].ms));
            cr_expect_eq(lines_with(text, line), 1, "rank %d: %s", r, text);
        }
        free(text);
    }
    /* The last checkpoint is intact: one rank goes on from it to the same bytes. */
    char *text;
    const int code =
        run(&text, GRAFT_BIN " train --model %s --data %s %s --resume", b->model, b->data, more);
    cr_assert_eq(code, 0, "%s", text);
    cr_assert(strstr(text, "going on from"), "%s", text);
    same_as_first(b, name);
    free(text);
    free(more);
}

Test(ranks, a_killed_rank_is_named_and_the_run_goes_on_from_its_checkpoint, .timeout = 300)
{
    bed b;
    if (place_of_test().devices < 3)
        cr_skip_test("three devices are needed");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    kill_one(&b, 2);
    kill_one(&b, 0);
    bed_close(&b);
}

/* Under mpirun it is mpirun that ends the others and says which rank it was. */
static void be_mpirun(int i, process *own, void *ctx)
{
    const team *t = ctx;
    char *text = NULL, *pid = gf_format(NULL, "%s/%s.pid", t->b->dir, t->name);
    if (i == 1) {
        wait_for_the_midst(t);
        own->ms = clock_ms();
        run(NULL, "kill -9 $(cat %s)", pid);
        return;
    }
    own->status = run(&text,
                      "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 "
                      "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 3 sh -c '"
                      "[ $OMPI_COMM_WORLD_RANK != 2 ] || echo $$ >%s; "
                      "exec " GRAFT_BIN " train --model %s --data %s %s'",
                      pid, t->b->model, t->b->data, t->more);
    own->ms = clock_ms();
    const char *named = strstr(text, "process rank 2 ");
    snprintf(own->text, sizeof own->text, "%s", named ? named : text);
}

Test(ranks, mpirun_names_a_killed_rank, .timeout = 300)
{
    bed b;
    process p[MOST_PROCESSES];
    if (run(NULL, "command -v mpirun") != 0)
        cr_skip_test("no mpirun");
    if (place_of_test().devices < 3)
        cr_skip_test("three devices are needed");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    char *more = gf_format(NULL, "--output-dir %s/mpi %s", b.dir, b.options), *text;
    team t = {.b = &b, .name = "mpi", .more = more};
    processes_run(2, be_mpirun, &t, LIMIT, p);
    cr_expect(p[0].status != 0 && p[0].ms - p[1].ms < PROMISED, "%s", p[0].text);
    cr_expect(!strncmp(p[0].text, "process rank 2 ", 15), "%s", p[0].text);
    const int code =
        run(&text, GRAFT_BIN " train --model %s --data %s %s --resume", b.model, b.data, more);
    cr_assert_eq(code, 0, "%s", text);
    same_as_first(&b, "mpi");
    free(text);
    free(more);
    bed_close(&b);
}
