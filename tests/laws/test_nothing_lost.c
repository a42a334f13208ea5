/* test_nothing_lost.c - law 5: files appear complete or not at all; a number that is not finite is
 * caught in its step, named and never saved; what was saved before stays, whatever happens. */
#include "support/golden.h"
#include "support/program.h"
#include "support/spoil.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char *dir, *golden; /* dir holds model/ and data.jsonl */
} bed;

/* Eight examples; only the fifth has token 0. */
static bool bed_open(bed *b)
{
    b->golden = golden_case(0);
    if (!b->golden)
        return false;
    b->dir = scratch_make();
    cr_assert_eq(run(NULL, "cp -r %s/model %s/adapter-trained %s", b->golden, b->golden, b->dir),
                 0);
    char *path = gf_format(NULL, "%s/data.jsonl", b->dir);
    FILE *f = fopen(path, "w");
    for (int e = 0; e < 8; e++) {
        fputs("{\"input_ids\":[", f);
        for (int t = 0; t < 12 + e; t++)
            fprintf(f, "%s%d", t ? "," : "", e == 4 && t == 6 ? 0 : 3 + (13 * e + 17 * t) % 90);
        fputs("]}\n", f);
    }
    fclose(f);
    free(path);
    return true;
}

static void bed_close(bed *b)
{
    scratch_remove(b->dir);
    free(b->golden);
}

static void spoil(const bed *b, const char *file, const char *tensor, const char *value)
{
    char *path = gf_format(NULL, "%s/%s", b->dir, file);
    spoil_tensor(path, tensor, SPOIL_POISON, value);
    free(path);
}

static bool same_file(const bed *b, const char *x, const char *y)
{
    char *p = gf_format(NULL, "%s/%s", b->dir, x), *q = gf_format(NULL, "%s/%s", b->dir, y);
    const bool same = same_bytes(p, q);
    free(p);
    free(q);
    return same;
}

/* Files of `name` that match the shell pattern. */
static int files(const bed *b, const char *name, const char *pattern)
{
    char *count;
    run_stdout(&count, "find %s/%s -name '%s' | wc -l", b->dir, name, pattern);
    const int n = atoi(count);
    free(count);
    return n;
}

static int train(char **text, const bed *b, const char *before, const char *name, const char *more)
{
    return run(text,
               "%s " GRAFT_BIN " train --model %s/model --data %s/data.jsonl --output-dir %s/%s "
               "--no-shuffle --batch-size 1 --lora-r 4 --threads 1 --save-steps 1 %s",
               before, b->dir, b->dir, b->dir, name, more);
}

static void has(const char *text, const char *words)
{
    cr_assert(strstr(text, words), "\"%s\" is not in: %s", words, text);
}

/* ---- numbers that are not finite --------------------------------------------------- */

Test(nothing_lost, nan_in_the_base)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    spoil(&b, "model/model.safetensors", "model.layers.1.mlp.up_proj.weight", "nan");
    cr_assert_eq(train(&text, &b, "", "out", ""), 1, "%s", text);
    has(text, "graft: step 1: layer 1, group_linear_fwd");
    has(text, "data.jsonl:1; nothing of it is kept");
    free(text);
    cr_assert_eq(files(&b, "out", "*.safetensors"), 0);
    cr_assert_eq(files(&b, "out", "checkpoint*"), 0);
    cr_assert_eq(run(&text,
                     GRAFT_BIN " eval --model %s/model --data %s/data.jsonl --per-example %s/each",
                     b.dir, b.dir, b.dir),
                 1);
    has(text, "the loss of a token is not finite");
    has(text, "data.jsonl:");
    free(text);
    cr_assert_eq(files(&b, "", "each*"), 0);
    bed_close(&b);
}

Test(nothing_lost, inf_in_the_adapter)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    spoil(&b, "adapter-trained/adapter_model.safetensors",
          "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight", "inf");
    char *path = gf_format(NULL,
                           GRAFT_BIN " train --model %s/model --data %s/data.jsonl --init-adapter "
                                     "%s/adapter-trained --output-dir %s/out",
                           b.dir, b.dir, b.dir, b.dir);
    cr_assert_eq(run(&text, "%s", path), 1, "%s", text);
    has(text, "graft: step 1: layer 1, ");
    has(text, "data.jsonl:");
    free(text);
    free(path);
    cr_assert_eq(files(&b, "out", "*.safetensors"), 0);
    cr_assert_eq(run(&text,
                     GRAFT_BIN " merge --model %s/model --adapter %s/adapter-trained "
                               "--output-dir %s/merged",
                     b.dir, b.dir, b.dir),
                 1, "%s", text);
    has(text, "layers.1.mlp.down_proj");
    has(text, "would hold inf");
    free(text);
    cr_assert_eq(files(&b, "", "merged/*"), 0);
    bed_close(&b);
}

/* An embedding that only the fifth example reads is NaN: four good steps, then an end; the fourth
 * step's checkpoint is what a good model gives. */
Test(nothing_lost, the_last_good_checkpoint_stays)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    cr_assert_eq(train(&text, &b, "", "good", "--save-total-limit 9"), 0, "%s", text);
    free(text);
    spoil(&b, "model/model.safetensors", "model.embed_tokens.weight", "nan");
    cr_assert_eq(train(&text, &b, "", "bad", "--save-total-limit 9"), 1, "%s", text);
    has(text, "graft: step 5: the embedding");
    has(text, "data.jsonl:5");
    free(text);
    cr_assert_eq(files(&b, "bad", "checkpoint-4"), 1);
    cr_assert_eq(files(&b, "bad", "*checkpoint-5*"), 0);
    cr_assert_eq(files(&b, "bad/checkpoint-4/..", "adapter_model.safetensors"), 4);
    for (int s = 1; s <= 4; s++) {
        static const char *const name[] = {"adapter_model.safetensors", "optimizer.safetensors"};
        for (int i = 0; i < 2; i++) {
            char *x = gf_format(NULL, "good/checkpoint-%d/%s", s, name[i]);
            char *y = gf_format(NULL, "bad/checkpoint-%d/%s", s, name[i]);
            cr_assert(same_file(&b, x, y), "%s", y);
            free(x);
            free(y);
        }
    }
    bed_close(&b);
}

/* ---- signals ----------------------------------------------------------------------- */

enum { STEPS = 400 };
static const char long_run[] =
    "--model model --data data.jsonl --batch-size 4 --max-steps 400 --lora-r 4 --lora-dropout 0.1 "
    "--save-steps 400 --threads 1";

/* Starts a run, sends the signal once metrics.jsonl has grown past `bytes`; the exit code, or
 * 128 + signal. */
static int signalled(const bed *b, const char *name, const char *more, long bytes,
                     int signal_number)
{
    char *metrics = gf_format(NULL, "%s/%s/metrics.jsonl", b->dir, name);
    char *line =
        gf_format(NULL, "cd %s && exec " GRAFT_BIN " train %s --output-dir %s %s >log 2>&1", b->dir,
                  long_run, name, more);
    const pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    struct stat info;
    int status = 0;
    for (int i = 0; i < 60000; i++) { /* a minute */
        if ((stat(metrics, &info) == 0 && info.st_size > bytes) ||
            waitpid(child, &status, WNOHANG) == child)
            break;
        usleep(1000);
    }
    kill(child, signal_number);
    waitpid(child, &status, 0);
    free(metrics);
    free(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void resume(const bed *b, const char *name)
{
    char *text;
    const int code = run(&text, "cd %s && " GRAFT_BIN " train %s --output-dir %s --resume", b->dir,
                         long_run, name);
    cr_assert_eq(code, 0, "%s", text);
    has(text, "going on from");
    free(text);
}

Test(nothing_lost, signals)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    cr_assert_eq(run(&text, "cd %s && " GRAFT_BIN " train %s --output-dir whole", b.dir, long_run),
                 0, "%s", text);
    free(text);
    cr_assert_eq(signalled(&b, "term", "", 200, SIGTERM), 3);
    cr_assert_eq(files(&b, "term", "checkpoint-*"), 1);
    cr_assert_eq(files(&b, "term", "adapter_model.safetensors"), 1); /* the checkpoint's */
    cr_assert_eq(signalled(&b, "term", "--resume", 4000, SIGINT), 3);
    resume(&b, "term");
    cr_assert(same_file(&b, "whole/adapter_model.safetensors", "term/adapter_model.safetensors"),
              "interrupted twice and resumed: other bytes");
    char *metrics = gf_format(NULL, "%s/term/metrics.jsonl", b.dir);
    for (int s = 0; s < STEPS; s++)
        cr_assert_eq(jsonl_number(metrics, "step", s), s + 1);
    free(metrics);

    /* A finished run's folder takes no second run. */
    cr_assert_eq(run(&text, "cd %s && " GRAFT_BIN " train %s --output-dir term", b.dir, long_run),
                 2, "%s", text);
    has(text, "not empty");
    free(text);
    cr_assert(same_file(&b, "whole/adapter_model.safetensors", "term/adapter_model.safetensors"));
    bed_close(&b);
}

/* ---- no room ----------------------------------------------------------------------- */

/* No file may grow past 20 blocks of 512 bytes: the checkpoint's tensors do not fit. */
Test(nothing_lost, file_size_limit)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    cr_assert_eq(train(&text, &b, "", "good", ""), 0, "%s", text);
    free(text);
    cr_assert_eq(train(&text, &b, "ulimit -f 20; ", "out", ""), 1, "%s", text);
    has(text, "adapter_model.safetensors: ");
    has(text, strerror(EFBIG));
    free(text);
    cr_assert_eq(files(&b, "out", "*.safetensors*"), 0);
    cr_assert_eq(files(&b, "out", "*checkpoint*"), 0);
    /* An adapter that is there stays as it is when its place could not be written again. */
    cr_assert_eq(
        run(NULL, "cp -r %s/good %s/again && rm -r %s/again/checkpoint-8", b.dir, b.dir, b.dir), 0);
    cr_assert_eq(train(&text, &b, "ulimit -f 20; ", "again", "--resume"), 1, "%s", text);
    free(text);
    cr_assert(same_file(&b, "good/adapter_model.safetensors", "again/adapter_model.safetensors"));
    cr_assert(same_file(&b, "good/checkpoint-7/adapter_model.safetensors",
                        "again/checkpoint-7/adapter_model.safetensors"));
    cr_assert_eq(train(&text, &b, "", "again", "--resume"), 0, "%s", text);
    free(text);
    cr_assert(same_file(&b, "good/adapter_model.safetensors", "again/adapter_model.safetensors"));
    bed_close(&b);
}

/* Closed streams: progress must not end up in a file that took their number. */
Test(nothing_lost, closed_streams)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    cr_assert_eq(train(&text, &b, "", "good", ""), 0, "%s", text);
    free(text);
    cr_assert_eq(run(NULL,
                     "(exec <&- >&- 2>&-; " GRAFT_BIN " train --model %s/model --data "
                     "%s/data.jsonl --output-dir %s/closed --no-shuffle --batch-size 1 --lora-r 4 "
                     "--save-steps 1)",
                     b.dir, b.dir, b.dir),
                 0);
    cr_assert(same_file(&b, "good/adapter_model.safetensors", "closed/adapter_model.safetensors"));
    char *metrics = gf_format(NULL, "%s/closed/metrics.jsonl", b.dir);
    cJSON *line = NULL;
    size_t size;
    char *lines = spoil_read(metrics, &size);
    int count = 0;
    for (char *at = strtok(lines, "\n"); at; at = strtok(NULL, "\n"), count++) {
        cr_assert_eq(gf_json_parse(&line, at, strlen(at), "metrics", 1, NULL), GF_OK, "%s", at);
        cJSON_Delete(line);
    }
    cr_assert_eq(count, 8);
    free(lines);
    free(metrics);
    bed_close(&b);
}

/* A file system of 192 KiB fills up at some checkpoint; the ones before it are whole. */
Test(nothing_lost, full_disk)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    if (run(&text, "mkdir %s/disk && mount -t tmpfs -o size=192k tmpfs %s/disk", b.dir, b.dir)) {
        bed_close(&b);
        cr_skip_test("a file system cannot be mounted here (root can)");
    }
    free(text);
    const int code = train(&text, &b, "", "disk/out", "--save-total-limit 9");
    const int good = train(NULL, &b, "", "good", "--save-total-limit 9");
    const int whole = files(&b, "disk/out", "checkpoint-*");
    bool same = whole > 0;
    for (int s = 1; s <= whole; s++) {
        char *x = gf_format(NULL, "good/checkpoint-%d/optimizer.safetensors", s);
        char *y = gf_format(NULL, "disk/out/checkpoint-%d/optimizer.safetensors", s);
        same = same && same_file(&b, x, y);
        free(x);
        free(y);
    }
    const int left = files(&b, "disk/out", "*tmp*");
    run(NULL, "umount %s/disk", b.dir); /* before anything can fail */
    cr_assert_eq(code, 1, "%s", text);
    cr_assert_eq(good, 0);
    has(text, strerror(ENOSPC));
    cr_assert(same, "%d checkpoints, and not those of a run with room", whole);
    cr_assert_eq(left, 0, "%d files of an interrupted write", left);
    free(text);
    bed_close(&b);
}
