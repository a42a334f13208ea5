/* data_split.c - contract: data_split.h. */
#include "cli/data_split.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "text/dataset_source.h"
#include "train/split.h"

enum { TRAIN, EVAL, SIDES };
static const char *const names[SIDES] = {"train.jsonl", "eval.jsonl"};

typedef struct {
    const gf_dataset *data;
    bool *held;
    int64_t next; /* the record to come */
    const char *file;
    char *path[SIDES];
    gf_out *out[SIDES];
    int64_t written[SIDES];
    gf_buf line;
} splitter;

static gf_status changed(const splitter *s, gf_err *err)
{
    return gf_fail(err, GF_EINPUT, "%s: the file was changed while it was read", s->file);
}

/* A line break in JSON stands between values, never in one: a space says the same. */
static gf_status write_record(void *ctx, cJSON *record, const char *text, size_t n, int64_t line,
                              gf_err *err)
{
    splitter *s = ctx;
    (void)record;
    if (s->next >= s->data->count || s->data->entry[s->next].line != line)
        return changed(s, err);
    const int side = s->held[s->next++] ? EVAL : TRAIN;
    s->line.len = 0;
    TRY(gf_buf_add(&s->line, text, n, err));
    for (size_t i = 0; i < n; i++)
        if (s->line.data[i] == '\n' || s->line.data[i] == '\r')
            s->line.data[i] = ' ';
    TRY(gf_buf_str(&s->line, "\n", err));
    s->written[side]++;
    return gf_out_write(s->out[side], s->line.data, s->line.len, err);
}

static gf_status open_files(splitter *s, const char *dir, gf_err *err)
{
    TRY(gf_dir_make(dir, err));
    for (int i = 0; i < SIDES; i++) {
        s->path[i] = gf_path_join(dir, names[i], err);
        if (!s->path[i])
            return GF_ENOMEM;
        if (gf_file_exists(s->path[i]))
            return gf_fail(err, GF_EINPUT, "%s is there already; take a new --output-dir",
                           s->path[i]);
    }
    for (int i = 0; i < SIDES; i++)
        TRY(gf_out_open(&s->out[i], s->path[i], err));
    return GF_OK;
}

static gf_status commit(splitter *s, gf_err *err)
{
    for (int i = 0; i < SIDES; i++) {
        gf_out *o = s->out[i];
        s->out[i] = NULL;
        TRY(gf_out_commit(o, err));
    }
    return GF_OK;
}

static gf_status say(const splitter *s, const gf_options *o, gf_buf *out, gf_err *err)
{
    if (o->json)
        return gf_buf_printf(out, err, ",\"split\":{\"train\":%lld,\"eval\":%lld}",
                             (long long)s->written[TRAIN], (long long)s->written[EVAL]);
    for (int i = 0; i < SIDES; i++)
        TRY(gf_buf_printf(out, err, "%s: %lld records\n", s->path[i], (long long)s->written[i]));
    return GF_OK;
}

gf_status gf_data_split(const gf_dataset *data, const gf_options *o, gf_buf *out, gf_err *err)
{
    splitter s = {.data = data};
    int64_t count;
    gf_status st = GF_OK;
    const bool made = !gf_dir_exists(o->output_dir);
    s.held = gf_alloc((size_t)data->count, sizeof *s.held, err);
    if (!s.held)
        return GF_ENOMEM;
    TRYG(gf_split_choose(s.held, &count, data, o->split, (uint64_t)o->seed, err));
    TRYG(open_files(&s, o->output_dir, err));
    for (int i = 0; i < o->data.count; i++) {
        s.file = o->data.item[i];
        TRYG(gf_records_read(s.file, write_record, &s, err));
    }
    if (s.next != data->count) {
        st = changed(&s, err);
        goto out;
    }
    TRYG(commit(&s, err));
    st = say(&s, o, out, err);
out:
    for (int i = 0; i < SIDES; i++) {
        gf_out_cancel(s.out[i]);
        free(s.path[i]);
    }
    if (st != GF_OK && made)
        rmdir(o->output_dir); /* only if it is empty */
    free(s.held);
    gf_buf_free(&s.line);
    return st;
}
