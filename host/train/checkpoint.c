/* checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include "base/json.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "checkpoint-";

/* The number in "checkpoint-N", or -1. */
static int64_t number_of(const char *name)
{
    if (strncmp(name, prefix, sizeof prefix - 1))
        return -1;
    const char *digits = name + sizeof prefix - 1;
    if (!digits[0] || digits[strspn(digits, "0123456789")] || (digits[0] == '0' && digits[1]))
        return -1; /* not as it is written below */
    errno = 0;
    const long long n = strtoll(digits, NULL, 10);
    return errno ? -1 : n;
}

char *gf_checkpoint_path(const char *dir, int64_t step, gf_err *err)
{
    return gf_format(err, "%s/%s%lld", dir, prefix, (long long)step);
}

/* ---- writing --------------------------------------------------------------------------------- */

static gf_status write_optimizer(const gf_state *s, const gf_adapter *ad, const char *dir,
                                 gf_err *err)
{
    gf_st_decl decl[GF_MOMENTS];
    gf_moment part[GF_MOMENTS];
    int64_t size[GF_MOMENTS];
    int count = 0;
    gf_st_writer *w = NULL;
    char *path = gf_path_join(dir, "optimizer.safetensors", err);
    if (!path)
        return GF_ENOMEM;
    gf_moments_size(size, ad, s->optim);
    for (int i = 0; i < GF_MOMENTS; i++)
        if (size[i]) {
            part[count] = (gf_moment)i;
            decl[count++] = (gf_st_decl){.name = gf_moment_name((gf_moment)i),
                                         .dtype = gf_moment_dtype((gf_moment)i),
                                         .rank = 1,
                                         .dim = {size[i]}};
        }
    gf_status st = gf_st_writer_open(&w, path, decl, count, err);
    for (int i; st == GF_OK && (i = gf_st_writer_next(w)) >= 0;)
        st = gf_st_writer_data(w, s->space->moment[part[i]],
                               (size_t)(size[part[i]] * gf_dtype_size(decl[i].dtype)), err);
    if (st == GF_OK)
        st = gf_st_writer_commit(w, err);
    else
        gf_st_writer_cancel(w);
    free(path);
    return st;
}

static gf_status write_state(const gf_state *s, const char *dir, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    char *path = gf_path_join(dir, "state.json", err);
    if (!path)
        return GF_ENOMEM;
    TRYG(gf_buf_printf(&text, err,
                       "{\"format\":1,\"version\":\"%s\",\"step\":%lld,\"evaluations\":",
                       GRAFT_VERSION, (long long)s->step));
    TRYG(gf_history_write(&s->history, &text, err));
    TRYG(gf_buf_printf(&text, err, ",\"options\":%s}\n", s->identity));
    TRYG(gf_file_write(path, text.data, text.len, err));
out:
    gf_buf_free(&text);
    free(path);
    return st;
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static gf_status check_finite(const gf_state *s, const gf_adapter *ad, gf_err *err)
{
    int64_t size[GF_MOMENTS];
    gf_moments_size(size, ad, s->optim);
    bool finite = all_finite(s->space->value, ad->size);
    for (int i = 0; finite && i < GF_MOMENTS; i++)
        if (gf_moment_dtype((gf_moment)i) == GF_F32)
            finite = all_finite(s->space->moment[i], size[i]);
    if (!finite)
        return gf_fail(err, GF_ENUMERIC,
                       "step %lld: the adapter is not finite any more and is not saved; lower "
                       "--learning-rate",
                       (long long)s->step);
    return GF_OK;
}

gf_status gf_checkpoint_save(const gf_state *s, const gf_adapter *ad, const char *dir, gf_err *err)
{
    gf_status st = GF_OK;
    char *path = gf_checkpoint_path(dir, s->step, err);
    char *tmp = gf_format(err, "%s/.%s%lld.tmp", dir, prefix, (long long)s->step);
    if (!path || !tmp) {
        st = GF_ENOMEM;
        goto out;
    }
    TRYG(check_finite(s, ad, err));
    TRYG(gf_dir_remove(tmp, err));
    TRYG(gf_dir_make(tmp, err));
    TRYG(gf_adapter_write(ad, s->space->value, tmp, err));
    TRYG(write_optimizer(s, ad, tmp, err));
    TRYG(write_state(s, tmp, err));
    TRYG(gf_dir_sync(tmp, err));
    TRYG(gf_dir_remove(path, err)); /* the same step of an earlier, longer run */
    if (rename(tmp, path)) {
        st = gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
        goto out;
    }
    TRYG(gf_dir_sync(dir, err));
out:
    if (st != GF_OK && tmp)
        gf_dir_remove(tmp, NULL);
    free(path);
    free(tmp);
    return st;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Text of a JSON value for a message; "nothing" if there is none. */
static char *value_text(const cJSON *v)
{
    return v ? cJSON_PrintUnformatted(v) : strdup("nothing");
}

/* Every member of the object `text` but `free_key` must be in `was`, with the same value. */
static gf_status compare(const cJSON *was, const char *text, const char *free_key, const char *path,
                         gf_err *err)
{
    cJSON *now = NULL;
    TRY(gf_json_parse(&now, text, strlen(text), "options", 1, err));
    gf_status st = GF_OK;
    const cJSON *item;
    cJSON_ArrayForEach(item, now)
    {
        const cJSON *old = cJSON_GetObjectItemCaseSensitive(was, item->string);
        if (!strcmp(item->string, free_key) || (old && cJSON_Compare(old, item, true)))
            continue;
        char *before = value_text(old), *after = value_text(item);
        st = gf_fail(err, GF_EARG,
                     "%s: was made with %s = %s, now it is %s; only threads, ranks, row-tokens, "
                     "memory, output and logging options may differ on --resume",
                     path, item->string, before ? before : "?", after ? after : "?");
        free(before);
        free(after);
        break;
    }
    cJSON_Delete(now);
    return st;
}

static gf_status check_adapter(const gf_adapter *ad, const char *path, gf_err *err)
{
    cJSON *was = NULL;
    gf_buf now = {0};
    gf_status st = GF_OK;
    char *file = gf_path_join(path, "adapter_config.json", err);
    if (!file)
        return GF_ENOMEM;
    TRYG(gf_json_read(&was, file, err));
    TRYG(gf_peft_config_text(&ad->config, file, &now, err));
    TRYG(compare(was, now.data, "base_model_name_or_path", file, err));
out:
    cJSON_Delete(was);
    gf_buf_free(&now);
    free(file);
    return st;
}

/* Only m has a sign; any code is one. */
static gf_status check_moment(gf_moment part, const float *x, int64_t count, const char *file,
                              gf_err *err)
{
    if (gf_moment_dtype(part) != GF_F32)
        return GF_OK;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]) || (part != GF_MOMENT_M && x[i] < 0))
            return gf_fail(err, GF_EINPUT, "%s: %s[%lld] is %g, which no update ever writes", file,
                           gf_moment_name(part), (long long)i, (double)x[i]);
    return GF_OK;
}

static gf_status read_moment(const gf_state *s, gf_moment part, int64_t size, gf_source *src,
                             const char *file, gf_err *err)
{
    const char *name = gf_moment_name(part);
    const gf_dtype dtype = gf_moment_dtype(part);
    const gf_entry *e = gf_source_find(src, name);
    if (!e && !size)
        return GF_OK;
    if (!e || !size || e->dtype != dtype || e->rank != 1 || e->dim[0] != size)
        return gf_fail(err, GF_EINPUT, "%s: %s is %s, want %s [%lld]", file, name,
                       e ? "another type or shape" : "missing", dtype == GF_F32 ? "F32" : "U8",
                       (long long)size);
    TRY(gf_source_read(src, e, 0, s->space->moment[part], e->bytes, err));
    return check_moment(part, s->space->moment[part], size, file, err);
}

static gf_status read_optimizer(gf_state *s, const gf_adapter *ad, const char *path, gf_err *err)
{
    gf_source src = {0};
    gf_status st = GF_OK;
    int64_t size[GF_MOMENTS];
    char *file = gf_path_join(path, "optimizer.safetensors", err);
    if (!file)
        return GF_ENOMEM;
    gf_moments_size(size, ad, s->optim);
    TRYG(gf_safetensors_open(&src, file, err));
    for (int i = 0; i < GF_MOMENTS; i++)
        TRYG(read_moment(s, (gf_moment)i, size[i], &src, file, err));
out:
    gf_source_close(&src);
    free(file);
    return st;
}

gf_status gf_checkpoint_load(gf_state *s, const gf_adapter *ad, const char *path, gf_err *err)
{
    cJSON *state = NULL;
    gf_status st = GF_OK;
    int64_t format;
    char *file = gf_path_join(path, "state.json", err);
    if (!file)
        return GF_ENOMEM;
    TRYG(gf_json_read(&state, file, err));
    TRYG(gf_json_int(&format, state, "format", 0, 0, INT64_MAX, file, err));
    if (format != 1) {
        st = gf_fail(err, GF_EINPUT, "%s: checkpoint format %lld, this version reads 1", file,
                     (long long)format);
        goto out;
    }
    TRYG(gf_json_int(&s->step, state, "step", -1, 0, INT64_MAX, file, err));
    TRYG(gf_history_read(&s->history, cJSON_GetObjectItemCaseSensitive(state, "evaluations"),
                         s->step, file, err));
    TRYG(compare(cJSON_GetObjectItemCaseSensitive(state, "options"), s->identity, "", path, err));
    TRYG(check_adapter(ad, path, err));
    TRYG(gf_adapter_read(ad, s->space->value, path, err));
    TRYG(read_optimizer(s, ad, path, err));
out:
    cJSON_Delete(state);
    free(file);
    return st;
}

/* ---- the output folder ----------------------------------------------------------------------- */

gf_status gf_checkpoint_last(char **path, const char *dir, gf_err *err)
{
    int64_t last = -1;
    *path = NULL;
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? GF_OK : gf_fail(err, GF_EINPUT, "%s: %s", dir, strerror(errno));
    for (const struct dirent *e; (e = readdir(d));)
        last = number_of(e->d_name) > last ? number_of(e->d_name) : last;
    closedir(d);
    if (last < 0)
        return GF_OK;
    *path = gf_checkpoint_path(dir, last, err);
    return *path ? GF_OK : GF_ENOMEM;
}

/* Renamed first, so that no half of a checkpoint is ever found under its name. */
static gf_status discard(const char *dir, const char *name, gf_err *err)
{
    gf_status st = GF_OK;
    const bool leftover = *name == '.';
    char *path = gf_path_join(dir, name, err);
    char *tmp = gf_format(err, leftover ? "%s/%s" : "%s/.%s.tmp", dir, name);
    if (!path || !tmp) {
        st = GF_ENOMEM;
        goto out;
    }
    if (!leftover) {
        TRYG(gf_dir_remove(tmp, err));
        if (rename(path, tmp)) {
            st = gf_fail(err, GF_EIO, "%s: %s", path, strerror(errno));
            goto out;
        }
    }
    TRYG(gf_dir_remove(tmp, err));
out:
    free(path);
    free(tmp);
    return st;
}

static bool is_leftover(const char *name)
{
    return name[0] == '.' && !strncmp(name + 1, prefix, sizeof prefix - 1);
}

gf_status gf_checkpoint_prune(const char *dir, int64_t keep, int64_t newest, int64_t best,
                              gf_err *err)
{
    for (;;) {
        int64_t count = 0, oldest = INT64_MAX;
        gf_buf name = {0}; /* of what goes next */
        gf_status st = GF_OK;
        DIR *d = opendir(dir);
        if (!d)
            return gf_fail(err, GF_EIO, "%s: %s", dir, strerror(errno));
        for (const struct dirent *e; st == GF_OK && !name.len && (e = readdir(d));) {
            const int64_t n = number_of(e->d_name);
            if (n > newest || is_leftover(e->d_name))
                st = gf_buf_str(&name, e->d_name, err);
            count += n >= 0;
            oldest = n >= 0 && n < oldest && n != best && n != newest ? n : oldest;
        }
        closedir(d);
        const bool done = st == GF_OK && !name.len && (count <= keep || oldest == INT64_MAX);
        if (st == GF_OK && !name.len && !done)
            st = gf_buf_printf(&name, err, "%s%lld", prefix, (long long)oldest);
        if (st == GF_OK && !done)
            st = discard(dir, name.data, err);
        gf_buf_free(&name);
        if (st != GF_OK || done)
            return st;
    }
}

/* Names that a run writes into its folder. */
static bool is_ours(const char *name)
{
    static const char *const files[] = {"adapter_config.json",
                                        "adapter_model.safetensors",
                                        "run.json",
                                        "metrics.jsonl",
                                        "samples.jsonl",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "tokenizer.model",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "report.html",
                                        "runs"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const size_t n = strlen(files[i]);
        if (!strncmp(name, files[i], n) && (!name[n] || !strncmp(name + n, ".tmp-", 5)))
            return true; /* or what an interrupted write left of it */
    }
    return number_of(name) >= 0 || is_leftover(name);
}

gf_status gf_output_dir_check(const char *dir, bool resume, gf_err *err)
{
    bool empty;
    if (!gf_dir_exists(dir) && gf_file_exists(dir))
        return gf_fail(err, GF_EARG, "--output-dir %s is a file", dir);
    TRY(gf_dir_is_empty(dir, &empty, err));
    if (empty)
        return GF_OK;
    if (!resume)
        return gf_fail(err, GF_EARG,
                       "--output-dir %s is not empty: name a new folder, or go on with --resume",
                       dir);
    DIR *d = opendir(dir);
    if (!d)
        return gf_fail(err, GF_EARG, "--output-dir %s: %s", dir, strerror(errno));
    gf_status st = GF_OK;
    bool adapter = false, checkpoint = false;
    for (const struct dirent *e; st == GF_OK && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && !is_ours(e->d_name))
            st = gf_fail(err, GF_EARG, "--output-dir %s holds %s, which no run of graft wrote", dir,
                         e->d_name);
        adapter |= !strcmp(e->d_name, "adapter_model.safetensors");
        checkpoint |= number_of(e->d_name) >= 0;
    }
    closedir(d);
    if (st == GF_OK && adapter && !checkpoint)
        st = gf_fail(err, GF_EARG,
                     "--output-dir %s holds an adapter and no checkpoint to go on from; name a new "
                     "folder, or it would be overwritten",
                     dir);
    return st;
}
