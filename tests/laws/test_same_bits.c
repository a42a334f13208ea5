/* test_same_bits.c - law 3: the same inputs and options give the same adapter, byte for byte, for
 * any number of threads, rows and ranks, with dropout, and whether or not the run was killed. */
#include "support/golden.h"
#include "support/program.h"
#include "support/small_model.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char *dir, *model, *data, *first; /* first: the adapter of the plain run */
    const char *options;
} bed;

static const char base_options[] =
    "--batch-size 4 --num-train-epochs 3 --lora-r 4 --lora-dropout 0.1 --learning-rate 1e-3 "
    "--warmup-steps 1 --seed 5 --save-steps 1";

static void train(const bed *b, const char *prefix, const char *more, const char *name)
{
    char *text;
    const int code =
        run(&text, "%s " GRAFT_BIN " train --model %s --data %s --output-dir %s/%s %s %s", prefix,
            b->model, b->data, b->dir, name, base_options, more);
    cr_assert_eq(code, 0, "%s %s: %s", prefix, more, text);
    free(text);
}

static void same_as_first(const bed *b, const char *name, const char *what)
{
    char *path = gf_format(NULL, "%s/%s/adapter_model.safetensors", b->dir, name);
    cr_assert(same_bytes(b->first, path), "other bytes: %s", what);
    free(path);
}

static bool bed_open(bed *b)
{
    char *dir = golden_case(0);
    if (!dir)
        return false;
    *b = (bed){.dir = scratch_make(), .model = gf_format(NULL, "%s/model", dir)};
    /* one longer than a gradient chunk of 512 tokens would not fit the model's 256 positions */
    b->data = small_tokens(b->dir, 13, 37, 198);
    b->first = gf_format(NULL, "%s/plain/adapter_model.safetensors", b->dir);
    free(dir);
    train(b, "", "--threads 1", "plain");
    return true;
}

static void bed_close(bed *b)
{
    scratch_remove(b->dir);
    free(b->model);
    free(b->data);
    free(b->first);
}

Test(same_bits, threads_rows_and_precision)
{
    bed b;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    train(&b, "", "--threads 3 --row-tokens 201", "threads");
    same_as_first(&b, "threads", "3 threads, rows of 201");
    train(&b, "", "--threads 2 --row-tokens 4096", "rows");
    same_as_first(&b, "rows", "2 threads, rows of 4096");
    train(&b, "", "--precision bf16 --threads 1", "bf16");
    train(&b, "", "--precision bf16 --threads 2 --row-tokens 233", "bf16b");
    char *x = gf_format(NULL, "%s/bf16/adapter_model.safetensors", b.dir);
    char *y = gf_format(NULL, "%s/bf16b/adapter_model.safetensors", b.dir);
    cr_assert(same_bytes(x, y), "bf16: other bytes with other rows and threads");
    cr_assert_not(same_bytes(x, b.first), "bf16 gave the bits of fp32: precision has no effect");
    free(x);
    free(y);
    bed_close(&b);
}

/* One run of a kind of adapter: save every step, all checkpoints kept. */
static void train_kind(const bed *b, const char *kind, const char *more, const char *name)
{
    char *text;
    const int code = run(&text,
                         GRAFT_BIN " train --model %s --data %s --output-dir %s/%s --batch-size 4 "
                                   "--max-steps 4 --lora-r 4 --learning-rate 1e-2 --seed 5 "
                                   "--save-steps 1 --save-total-limit 9 %s %s",
                         b->model, b->data, b->dir, name, kind, more);
    cr_assert_eq(code, 0, "%s %s: %s", kind, more, text);
    free(text);
}

/* Every kind of adapter: other rows and threads, and going on from the second step. */
Test(same_bits, every_kind_of_adapter)
{
    static const char *const kinds[] = {
        "--use-dora",
        "--use-dora --target-modules k_proj,up_proj",
        "--init-lora-weights pissa",
        "--target-modules q_proj,embed_tokens,lm_head --lora-dropout 0.1",
        "--target-modules embed_tokens --loraplus-lr-ratio 16",
        "--target-modules q_proj --modules-to-save embed_tokens,lm_head --lora-dropout 0.1",
        "--init-lora-weights olora --use-dora --use-rslora"};
    bed b;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *resume = gf_format(NULL, "--threads 2 --resume %s/k/checkpoint-2", b.dir);
        free(b.first);
        b.first = gf_format(NULL, "%s/k/adapter_model.safetensors", b.dir);
        train_kind(&b, kinds[i], "--threads 1", "k");
        train_kind(&b, kinds[i], "--threads 3 --row-tokens 201", "other");
        same_as_first(&b, "other", kinds[i]);
        train_kind(&b, kinds[i], resume, "resumed");
        same_as_first(&b, "resumed", kinds[i]);
        run(NULL, "rm -rf %s/k %s/other %s/resumed", b.dir, b.dir, b.dir);
        free(resume);
    }
    bed_close(&b);
}

Test(same_bits, ranks)
{
    bed b;
    if (run(NULL, "command -v mpirun") != 0)
        cr_skip_test("no mpirun");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    /* Open MPI keeps what it allocates: leaks are looked for in the other tests. */
    const char *mpi = "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 "
                      "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe";
    for (int ranks = 2; ranks <= 3; ranks++) {
        char *prefix = gf_format(NULL, "%s -n %d", mpi, ranks);
        char *name = gf_format(NULL, "ranks%d", ranks);
        train(&b, prefix, "--threads 1", name);
        same_as_first(&b, name, name);
        free(prefix);
        free(name);
    }
    bed_close(&b);
}

/* Nobody waits for a rank that is gone, and none trains on what the others don't have. */
Test(same_bits, ranks_that_differ)
{
    bed b;
    if (run(NULL, "command -v mpirun") != 0)
        cr_skip_test("no mpirun");
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    char *text;
    const char *second[][2] = {{"--seed 7", "rank 1 has other options"},
                               {"--data nowhere.jsonl", "nowhere.jsonl"}};
    for (int i = 0; i < 2; i++) {
        const int code = run(
            &text,
            "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 "
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 60 mpirun --oversubscribe "
            "-n 1 " GRAFT_BIN " train --model %s --data %s --output-dir %s/differ --threads 1 : "
            "-n 1 " GRAFT_BIN " train --model %s --data %s --output-dir %s/differ --threads 1 %s",
            b.model, b.data, b.dir, b.model, b.data, b.dir, second[i][0]);
        cr_assert_eq(code, 2, "%s", text);
        cr_assert(strstr(text, second[i][1]), "%s", text);
        free(text);
        run(NULL, "rm -rf %s/differ", b.dir);
    }
    bed_close(&b);
}

/* Starts a run in the background and kills it once metrics.jsonl has `lines` lines. */
static void kill_after(const bed *b, const char *name, int lines, bool resume)
{
    char *metrics = gf_format(NULL, "%s/%s/metrics.jsonl", b->dir, name);
    char *line = gf_format(NULL,
                           "exec " GRAFT_BIN " train --model %s --data %s --output-dir %s/%s %s %s "
                           "--threads 2 >/dev/null 2>&1",
                           b->model, b->data, b->dir, name, base_options, resume ? "--resume" : "");
    const pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 20000; i++) {
        char *count;
        run_stdout(&count, "cat %s 2>/dev/null | wc -l", metrics);
        const bool enough = atoi(count) >= lines;
        free(count);
        if (enough || waitpid(child, NULL, WNOHANG) == child)
            break;
        usleep(500);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    free(metrics);
    free(line);
}

Test(same_bits, killed_and_resumed)
{
    bed b;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    kill_after(&b, "killed", 2, false);
    kill_after(&b, "killed", 5, true);
    kill_after(&b, "killed", 9, true);
    train(&b, "", "--threads 1 --resume", "killed");
    same_as_first(&b, "killed", "killed three times");

    /* The metrics are those of one run, too: every step once, the same losses. */
    char *a = gf_format(NULL, "%s/plain/metrics.jsonl", b.dir);
    char *k = gf_format(NULL, "%s/killed/metrics.jsonl", b.dir);
    for (int i = 0; i < 12; i++)
        cr_assert_eq(jsonl_number(a, "loss", i), jsonl_number(k, "loss", i), "step %d", i + 1);
    cr_assert(jsonl_number(k, "loss", 12) != jsonl_number(k, "loss", 12), "a step stands twice");
    free(a);
    free(k);
    bed_close(&b);
}

/* Whatever else draws, keeps a state or follows the evaluations: rows, threads, ranks, resumes.
 * Ranks of 64 make tensors that are large enough for 8 bits, and there are smaller ones. */
static void all_at_once(const bed *b, const char *prefix, const char *more, const char *name)
{
    char *text;
    const int code =
        run(&text,
            "%s " GRAFT_BIN " train --model %s --data %s --eval-data %s --output-dir %s/%s "
            "--batch-size 4 --num-train-epochs 2 --lora-r 64 --lora-dropout 0.1 --eval-steps 2 "
            "--learning-rate 1e-2 --optim adamw-8bit --neftune-noise-alpha 5 --save-steps 1 "
            "--lr-scheduler-type reduce_lr_on_plateau --save-total-limit 8 "
            "--lr-scheduler-kwargs '{\"patience\":0}' --early-stopping-patience 9 "
            "--load-best-model-at-end %s",
            prefix, b->model, b->data, b->data, b->dir, name, more);
    cr_assert_eq(code, 0, "%s %s: %s", prefix, more, text);
    free(text);
}

Test(same_bits, small_states_noise_and_plateaus)
{
    bed b;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    all_at_once(&b, "", "--threads 1", "all");
    free(b.first);
    b.first = gf_format(NULL, "%s/all/adapter_model.safetensors", b.dir);
    all_at_once(&b, "", "--threads 3 --row-tokens 201", "threads");
    same_as_first(&b, "threads", "3 threads, rows of 201");
    run(NULL, "mkdir %s/half && cp -r %s/all/checkpoint-[1-5] %s/half/", b.dir, b.dir, b.dir);
    all_at_once(&b, "", "--threads 1 --resume", "half");
    same_as_first(&b, "half", "resumed after step 5");
    if (run(NULL, "command -v mpirun") == 0) {
        all_at_once(&b,
                    "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 "
                    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 2",
                    "--threads 1", "ranks");
        same_as_first(&b, "ranks", "2 ranks");
    }
    train(&b, "", "--threads 1 --optim lion", "lion");
    free(b.first);
    b.first = gf_format(NULL, "%s/lion/adapter_model.safetensors", b.dir);
    train(&b, "", "--threads 2 --row-tokens 230 --optim lion_32bit", "lion2");
    same_as_first(&b, "lion2", "lion, 2 threads, rows of 230");
    bed_close(&b);
}

Test(same_bits, resume_refuses_other_options)
{
    bed b;
    char *text;
    if (!bed_open(&b))
        cr_skip_test("no reference cases");
    const int code = run(&text,
                         GRAFT_BIN " train --model %s --data %s --output-dir %s/plain %s "
                                   "--learning-rate 2e-3 --resume",
                         b.model, b.data, b.dir, base_options);
    cr_assert_eq(code, 2, "%s", text);
    cr_assert(strstr(text, "learning_rate"), "%s", text);
    free(text);
    bed_close(&b);
}
