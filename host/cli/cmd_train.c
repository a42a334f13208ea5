/* cmd_train.c - graft train: options -> adapter folder (DESIGN 1.2). */
#include "cli/commands.h"

#include "cli/facts.h"
#include "cli/inputs.h"
#include "cli/prompts.h"
#include "base/file.h"
#include "base/number.h"
#include "cli/ranks.h"
#include "cli/record.h"
#include "cli/watching.h"
#include "model/space.h"
#include "train/checkpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    const gf_options *o;
    gf_session s;
    gf_comm comm;
    gf_dataset data, eval;
    gf_prompts prompts;
    gf_stops stops; /* of the prompts' answers */
    gf_model_options model_opt;
    gf_plan plan;
    gf_trainer t;
    gf_buf identity, base;
    gf_base_hash *hash; /* until it is joined */
    char *resume;       /* the checkpoint to go on from, or NULL */
    gf_watching watching;
    bool has_comm;
} run;

/* ---- signals -------------------------------------------------------------------------- */

static void request_stop(int signal_number)
{
    (void)signal_number;
    gf_stop_requested = 1;
}

/* The first signal stops after the step; a second one ends the program at once. Under mpirun a
 * SIGTERM must not linger: mpirun kills what survives it, and the last checkpoint is intact. */
static void catch_signals(const gf_comm *comm)
{
    struct sigaction act = {.sa_handler = request_stop, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigaction(SIGUSR1, &act, NULL);
    if (comm->size > 1)
        return;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

/* ---- opening -------------------------------------------------------------------------- */

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* --resume CHECKPOINT of another folder: the checkpoints of --output-dir are then of another run,
 * which this one would prune. */
static gf_status check_parent(const gf_options *o, gf_err *err)
{
    char *last = NULL, *parent = gf_path_join(o->resume, "..", err);
    gf_status st = parent ? gf_checkpoint_last(&last, o->output_dir, err) : GF_ENOMEM;
    if (st == GF_OK && last && !same_folder(parent, o->output_dir))
        st = gf_fail(err, GF_EARG,
                     "--resume %s: --output-dir %s has checkpoints of its own; go on from one of "
                     "them, or name a new folder",
                     o->resume, o->output_dir);
    free(last);
    free(parent);
    return st;
}

static gf_status find_resume(run *r, gf_err *err)
{
    const gf_options *o = r->o;
    TRY(gf_output_dir_check(o->output_dir, o->given.resume, err));
    if (!o->given.resume)
        return GF_OK;
    if (!o->resume)
        return gf_checkpoint_last(&r->resume, o->output_dir, err);
    if (!gf_dir_exists(o->resume))
        return gf_fail(err, GF_EARG, "--resume %s: there is no such checkpoint", o->resume);
    TRY(check_parent(o, err));
    r->resume = gf_strdup(o->resume, err);
    return r->resume ? GF_OK : GF_ENOMEM;
}

static gf_status open_inputs(run *r, gf_err *err)
{
    gf_session *s = &r->s;
    bool tensorboard, html;
    TRY(gf_facts_targets(r->o, &tensorboard, &html, err));
    TRY(find_resume(r, err));
    TRY(gf_inputs_adapter(s, err));
    TRY(gf_session_backend(s, err));
    TRY(gf_inputs_data(s, &r->data, &r->eval, err));
    if (r->o->sample_prompts)
        TRY(gf_prompts_read(&r->prompts, &r->stops, s, r->data.trained_turns > 0, err));
    TRY(gf_record_identity(s, &r->identity, err));
    TRY(gf_inputs_training(&r->t.opt, r->o, gf_dataset_epoch(&r->data), err));
    r->t.opt.identity = r->identity.data;
    return GF_OK;
}

/* The adapter's first values: another adapter's, drawn, or made of the base's weights (unless a
 * checkpoint has them). CPUs of several kinds may make these with other bits: rank 0's count. */
static gf_status start_values(run *r, gf_err *err)
{
    gf_session *s = &r->s;
    const gf_options *o = r->o;
    const bool split = s->adapter.split;
    gf_space space;
    gf_status st = GF_OK;
    TRYG(gf_space_open(&space, &s->model, false, err));
    if (o->init_adapter)
        TRYG(gf_adapter_read(&s->adapter, space.value, o->init_adapter, err));
    else if (!split || !r->resume)
        TRYG(gf_space_start(&space, (gf_init)o->init_lora_weights, (uint64_t)o->seed, err));
    if (split) {
        const size_t bytes = (size_t)s->adapter.size * sizeof *space.value;
        TRYG(gf_comm_broadcast(&r->comm, space.value, bytes, err));
    }
    TRYG(gf_space_push(&space, err));
out:
    gf_space_close(&space);
    return st;
}

static gf_status open_model(run *r, gf_err *err)
{
    gf_session *s = &r->s;
    gf_loader ld;
    r->model_opt = gf_inputs_model(s);
    TRY(gf_loader_open(&ld, &r->data, r->t.opt.batch, r->t.opt.seed, r->t.opt.shuffle, r->comm.rank,
                       r->comm.size, err));
    const int64_t epoch = ld.steps_per_epoch, total = r->t.opt.schedule.total;
    const int64_t most = gf_loader_most_tokens(&ld, total < epoch ? total : epoch);
    gf_loader_close(&ld);
    TRY(gf_plan_choose(&r->plan, &s->files, &s->adapter, &s->backend, &r->model_opt,
                       r->o->row_tokens, gf_inputs_longest(&r->data, &r->eval, &r->prompts), most,
                       gf_session_limit(s), err));
    TRY(gf_model_open(&s->model, &s->files, &s->adapter, &s->backend, &s->arena, &r->model_opt, 0,
                      false, err));
    s->has_model = true;
    return start_values(r, err);
}

/* "avx512bf16, 2 threads", or the GPU's name. */
static void report_backend(const gf_backend *be)
{
    const int threads = gf_backend_threads(be);
    if (be->cuda)
        fprintf(stderr, "%s\n", gf_backend_device(be)->name);
    else
        fprintf(stderr, "%s, %d %s\n", be->ops->name, threads, threads == 1 ? "thread" : "threads");
}

static void report_start(const run *r)
{
    const gf_plan *p = &r->plan;
    const gf_loader *ld = &r->t.loader;
    int64_t tokens, trained;
    gf_dataset_tokens(&r->data, &tokens, &trained);
    fprintf(stderr, "graft: %s: %lld example%s, %s tokens, %s trained; %lld step%s of %lld\n",
            r->o->data.item[0], (long long)r->data.count, r->data.count == 1 ? "" : "s",
            gf_number_count(tokens).text, gf_number_count(trained).text,
            (long long)r->t.opt.schedule.total, r->t.opt.schedule.total == 1 ? "" : "s",
            (long long)ld->batch);
    if (r->data.weighted)
        fprintf(stderr, "graft: --data-weights %s: %lld examples an epoch\n", r->o->data_weights,
                (long long)gf_dataset_epoch(&r->data));
    gf_inputs_say_overlength(r->o->data.item[0], &r->data);
    gf_inputs_say_overlength("evaluation data", &r->eval);
    fprintf(stderr, "graft: %s parameters in %d modules; rows of %lld tokens; memory %s; ",
            gf_number_count(r->s.adapter.size).text, r->s.adapter.count, (long long)p->row_tokens,
            gf_number_bytes_short(p->total + p->threads).text);
    report_backend(&r->s.backend);
    const int64_t longest = gf_inputs_longest(&r->data, &r->eval, &r->prompts);
    const int64_t positions = r->s.files.config.max_position; /* 0: not known */
    if (positions && longest > positions)
        fprintf(stderr,
                "graft: note: %lld tokens are more than the %lld positions that the model "
                "was made for\n",
                (long long)longest, (long long)positions);
    if (r->t.step)
        fprintf(stderr, "graft: going on from %s\n", r->resume);
}

static gf_record record_of(const run *r, const char *adapter_hash)
{
    const gf_history *h = &r->t.history;
    const int64_t best = gf_history_best(h);
    return (gf_record){.plan = &r->plan,
                       .arena = &r->s.arena,
                       .base = r->base.data,
                       .adapter_hash = adapter_hash,
                       .steps = r->t.opt.schedule.total,
                       .done = r->t.step,
                       .examples = r->data.count,
                       .epoch = gf_dataset_epoch(&r->data),
                       .eval_examples = r->eval.count,
                       .best_step = best < 0 ? -1 : h->step[best],
                       .best_loss = best < 0 ? 0 : h->loss[best],
                       .ranks = r->comm.size};
}

static gf_status open_trainer(run *r, gf_err *err)
{
    r->t.model = &r->s.model;
    r->t.adapter = &r->s.adapter;
    r->t.data = &r->data;
    r->t.eval_data = r->eval.count ? &r->eval : NULL;
    r->t.comm = &r->comm;
    r->t.prompts = r->prompts.count ? &r->prompts : NULL;
    if (r->comm.rank == 0) {
        gf_watching_open(&r->watching, &r->s, &r->plan);
        r->t.watch = gf_watching_calls(&r->watching);
    }
    gf_status st = r->comm.rank == 0 ? gf_dir_make(r->o->output_dir, err) : GF_OK;
    TRY(gf_comm_agree(&r->comm, st, err));
    TRY(gf_trainer_open(&r->t, r->resume, err));
    if (r->comm.rank == 0) {
        const gf_record record = record_of(r, NULL);
        report_start(r);
        st = gf_watching_start(&r->watching, &r->t, &record, err);
    }
    return gf_comm_agree(&r->comm, st, err);
}

/* ---- the end -------------------------------------------------------------------------- */

/* run.json, and the report's last state. */
static gf_status write_record(run *r, const char *adapter_hash, const char *state, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    char *path = gf_path_join(r->o->output_dir, "run.json", err);
    if (!path)
        return GF_ENOMEM;
    if (r->hash) {
        gf_base_hash *h = r->hash;
        r->hash = NULL;
        TRYG(gf_base_hash_end(h, &r->base, err));
    }
    const gf_record record = record_of(r, adapter_hash);
    TRYG(gf_record_json(&r->s, &record, &text, err));
    TRYG(gf_file_write(path, text.data, text.len, err));
    TRYG(gf_watching_end(&r->watching, state, &text, err));
out:
    gf_buf_free(&text);
    free(path);
    return st;
}

/* The adapter with its tokenizer, and run.json with the adapter's hash. Rank 0. */
static gf_status write_outputs(run *r, gf_err *err)
{
    const char *dir = r->o->output_dir;
    gf_sha256 hash;
    gf_space space;
    char *template_text = NULL;
    gf_status st = gf_space_open(&space, &r->s.model, true, err);
    if (st == GF_OK)
        st = gf_adapter_write(&r->s.adapter, space.value, dir, err);
    gf_space_close(&space);
    TRY(st);
    if (r->s.tokenizer) {
        TRY(gf_session_template_text(&r->s, &template_text, err));
        st = gf_tokenizer_save(r->s.tokenizer, dir, template_text, err);
        free(template_text);
        TRY(st);
    }
    char *path = gf_path_join(dir, "adapter_model.safetensors", err);
    if (!path)
        return GF_ENOMEM;
    st = gf_hash_file(&hash, path, err);
    free(path);
    TRY(st);
    return write_record(r, hash.hex, "done", err);
}

static gf_status finish(run *r, gf_err *err)
{
    gf_status st = GF_OK;
    if (r->comm.rank == 0) {
        bool tensorboard = false, html = false;
        gf_watching_rest(&r->watching);
        st = write_outputs(r, err);
        if (st == GF_OK)
            st = gf_facts_targets(r->o, &tensorboard, &html, err);
        if (st == GF_OK)
            fprintf(stderr, "graft: %s: adapter, %smetrics.jsonl, run.json%s\n", r->o->output_dir,
                    r->s.tokenizer ? "tokenizer, " : "", html ? ", report.html" : "");
    }
    return gf_comm_agree(&r->comm, st, err);
}

static void close_run(run *r, gf_status st)
{
    if (r->hash)
        gf_base_hash_end(r->hash, &r->base, NULL);
    if (r->has_comm) /* before the device whose memory it sums */
        gf_comm_close(&r->comm, st);
    gf_trainer_close(&r->t);
    gf_session_close(&r->s);
    gf_prompts_free(&r->prompts);
    gf_dataset_free(&r->eval);
    gf_dataset_free(&r->data);
    gf_buf_free(&r->identity);
    gf_buf_free(&r->base);
    free(r->resume);
}

gf_status gf_cmd_train(const gf_options *o, gf_err *err)
{
    run r = {.o = o};
    gf_status st = GF_OK;
    gf_session_start(&r.s, o);
    TRYG(gf_ranks_open(&r.comm, o, err));
    r.has_comm = true;
    r.s.comm = &r.comm;
    st = open_inputs(&r, err);
    TRYG(gf_comm_agree(&r.comm, st, err));
    if (r.s.backend.cuda)
        TRYG(gf_comm_device_open(&r.comm, err));
    st = open_model(&r, err);
    TRYG(gf_comm_agree(&r.comm, st, err));
    TRYG(open_trainer(&r, err));
    catch_signals(&r.comm);
    if (r.comm.rank == 0)
        st = gf_base_hash_start(&r.hash, &r.s.files, err);
    TRYG(gf_comm_agree(&r.comm, st, err));
    st = gf_train(&r.t, err);
    if (st == GF_OK)
        st = finish(&r, err);
    else if (st == GF_EINTERRUPT && r.comm.rank == 0 &&
             write_record(&r, NULL, "stopped", NULL) != GF_OK)
        st = GF_EINTERRUPT; /* the checkpoint is there; the record is written again on resume */
out:
    gf_watching_close(&r.watching);
    gf_print_error(st, err);
    close_run(&r, st);
    return st;
}
