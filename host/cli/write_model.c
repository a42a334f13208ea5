/* write_model.c - see write_model.h. */
#include "cli/write_model.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/machine.h"

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

typedef struct {
    gf_session *s;
    gf_written *w;
    const char *template; /* text, or NULL */
    bool terminal;
    int64_t shown; /* tensors */
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool on_slice(void *ctx, int64_t done, int64_t total)
{
    job *j = ctx;
    const uint64_t memory = gf_machine_resident();
    j->w->peak = memory > j->w->peak ? memory : j->w->peak;
    if (j->terminal && done != j->shown)
        fprintf(stderr, "\rgraft: writing %lld of %lld tensors%s", (long long)done,
                (long long)total, done == total ? "\n" : "");
    j->shown = done;
    return !stopped;
}

static gf_status save_tokenizer(void *ctx, const char *dir, gf_err *err)
{
    const job *j = ctx;
    return j->s->tokenizer ? gf_tokenizer_save(j->s->tokenizer, dir, j->template, err) : GF_OK;
}

/* Before any of a merge; from here on SIGINT and SIGTERM end it cleanly. */
static void catch_signals(void)
{
    const struct sigaction act = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

/* "models/My-Model/" -> "My-Model"; caller frees. */
static char *model_name(const char *path, gf_err *err)
{
    char *whole = realpath(path, NULL);
    char *name = gf_strdup(gf_path_name(whole ? whole : path), err);
    free(whole);
    return name;
}

static gf_status put_tokenizer(job *j, gf_gguf_keys *keys, gf_err *err)
{
    const gf_config *c = &j->s->files.config;
    const gf_tokenizer_gguf model = {
        .vocabulary = c->V, .chat_template = j->template, .end = c->eos, .ends = c->eos_count};
    return gf_tokenizer_put_gguf(j->s->tokenizer, &model, keys, &j->w->note, err);
}

static gf_status write_it(job *j, gf_merge_options *opt, gf_err *err)
{
    gf_gguf_keys keys = {0};
    char *name = NULL;
    gf_status st = GF_OK;
    if (opt->gguf && !j->s->files.is_gguf) {
        name = model_name(j->s->o->model, err);
        opt->name = name;
        if (!name) {
            st = GF_ENOMEM;
            goto out;
        }
        TRYG(gf_session_tokenizer(j->s, true, err));
        TRYG(put_tokenizer(j, &keys, err));
        opt->tokenizer = &keys;
    }
    catch_signals();
    const double start = now();
    TRYG(gf_merge(&j->w->merged, &j->s->files, opt, err));
    j->w->seconds = now() - start;
out:
    gf_gguf_keys_free(&keys);
    free(name);
    return st;
}

/* In the order of the option's choices. */
static gf_dtype chosen_dtype(int choice)
{
    static const gf_dtype dtypes[] = {
        [GF_DTYPE_BASE] = GF_DTYPES, [GF_DTYPE_F32] = GF_F32,   [GF_DTYPE_F16] = GF_F16,
        [GF_DTYPE_BF16] = GF_BF16,   [GF_DTYPE_Q8_0] = GF_Q8_0, [GF_DTYPE_Q4_0] = GF_Q4_0,
        [GF_DTYPE_Q4_K] = GF_Q4_K};
    return dtypes[choice];
}

/* The file must not be the model that it is made from, nor a folder. */
static gf_status check_output(const gf_options *o, gf_err *err)
{
    const char *path = o->output;
    if (!path)
        return GF_OK;
    const size_t n = strlen(path);
    if (n < 6 || strcmp(path + n - 5, ".gguf") != 0)
        return gf_fail(err, GF_EARG,
                       "--output %s: want a name that ends in .gguf; a folder is "
                       "written with --output-dir",
                       path);
    if (gf_dir_exists(path))
        return gf_fail(err, GF_EARG, "--output %s: is a folder, want a file", path);
    if (gf_file_exists(path))
        return gf_fail(err, GF_EARG,
                       "--output %s: is there already; remove it or take another name", path);
    return GF_OK;
}

gf_status gf_write_model(const gf_options *o, const gf_merge_adapter *adapter, int adapters,
                         gf_err *err)
{
    gf_session s;
    char *text = NULL;
    gf_written w = {.adapter = adapter, .adapters = adapters};
    gf_status st = GF_OK;
    gf_session_start(&s, o);
    TRYG(check_output(o, err));
    TRYG(gf_session_files(&s, err));
    TRYG(gf_session_tokenizer(&s, false, err));
    TRYG(gf_session_template_text(&s, &text, err));
    job j = {.s = &s, .w = &w, .template = text, .terminal = isatty(STDERR_FILENO)};
    gf_machine machine;
    gf_machine_look(&machine);
    gf_merge_options opt = {.adapter = adapter,
                            .adapters = adapters,
                            .output = o->output ? o->output : o->output_dir,
                            .gguf = o->output != NULL,
                            .dtype = chosen_dtype(o->dtype),
                            .max_shard = o->max_shard_size,
                            .threads = machine.cores,
                            .beside = save_tokenizer,
                            .progress = on_slice,
                            .ctx = &j};
    TRYG(write_it(&j, &opt, err));
    if (o->verify)
        TRYG(gf_verify_model(&w, o, opt.output, err));
    TRYG(gf_write_report(o, &w, err));
out:
    gf_quality_free(&w.merged.quality);
    free(text);
    gf_session_close(&s);
    return st;
}
