/* facts.c - contract: facts.h. */
#include "cli/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/data_report.h"
#include "cli/option_table.h"

/* ---- data ------------------------------------------------------------------------------- */

static gf_status one_set(const gf_dataset *d, const gf_dataset *train, int64_t max_length,
                         gf_buf *out, gf_err *err)
{
    gf_data_report report;
    if (d->count == 0)
        return gf_buf_str(out, "null", err);
    TRY(gf_data_report_make(&report, d, train, max_length, err));
    TRY(gf_buf_str(out, "{\"report\":", err));
    TRY(gf_data_report_json(&report, out, err));
    return gf_buf_str(out, "}", err);
}

gf_status gf_facts_data(const gf_dataset *data, const gf_dataset *eval, int64_t max_length,
                        gf_buf *out, gf_err *err)
{
    TRY(gf_buf_str(out, "\"data\":", err));
    TRY(one_set(data, NULL, max_length, out, err));
    TRY(gf_buf_str(out, ",\"eval_data\":", err));
    return one_set(eval, data, max_length, out, err);
}

/* ---- options ---------------------------------------------------------------------------- */

/* A word of the command line may be any bytes: what is not UTF-8 becomes '?'. */
static gf_status quote_word(gf_buf *out, const char *word, size_t n, gf_err *err)
{
    gf_buf clean = {0};
    gf_status st = GF_OK;
    for (size_t at = 0; st == GF_OK && at < n;) {
        const size_t good = gf_utf8_valid(word + at, n - at);
        st = gf_buf_add(&clean, word + at, good, err);
        at += good;
        if (st == GF_OK && at < n) {
            st = gf_buf_str(&clean, "?", err);
            at++;
        }
    }
    if (st == GF_OK)
        st = gf_json_quote(out, clean.data ? clean.data : "", clean.len, err);
    gf_buf_free(&clean);
    return st;
}

static gf_status command_line(gf_buf *out, gf_err *err)
{
    static char words[1 << 16]; /* longer ones are cut: the options stand elsewhere, too */
    FILE *f = fopen("/proc/self/cmdline", "re");
    const size_t n = f ? fread(words, 1, sizeof words - 1, f) : 0;
    if (f)
        fclose(f);
    words[n] = '\0';
    TRY(gf_buf_str(out, "[", err));
    for (size_t at = 0; at < n; at += strlen(words + at) + 1) {
        if (at)
            TRY(gf_buf_str(out, ",", err));
        TRY(quote_word(out, words + at, strlen(words + at), err));
    }
    return gf_buf_str(out, "]", err);
}

gf_status gf_facts_options(const gf_options *o, gf_buf *out, gf_err *err)
{
    const gf_option *p;
    bool any = false;
    TRY(gf_buf_str(out, "\"given\":[", err));
    for (int i = 0; (p = gf_option_at(i)); i++) {
        if (!(p->commands & 1u << o->command) || !*gf_option_given(o, p))
            continue;
        TRY(gf_buf_printf(out, err, any ? ",\"%s\"" : "\"%s\"", p->name));
        any = true;
    }
    TRY(gf_buf_str(out, "],\"command\":", err));
    return command_line(out, err);
}

/* ---- hyper-parameters -------------------------------------------------------------------- */

/* The hyper-parameters that an item is: none for null, the file names of a list as one text. */
static bool as_hparam(gf_hparam *p, cJSON *item)
{
    *p = (gf_hparam){.name = item->string};
    if (cJSON_IsBool(item)) {
        p->kind = GF_HPARAM_BOOL;
        p->number = cJSON_IsTrue(item);
    } else if (cJSON_IsNumber(item)) {
        p->kind = GF_HPARAM_NUMBER;
        p->number = item->valuedouble;
    } else if (cJSON_IsString(item)) {
        p->kind = GF_HPARAM_TEXT;
        p->text = item->valuestring;
    } else if (cJSON_IsArray(item) && item->child && cJSON_IsString(item->child)) {
        p->kind = GF_HPARAM_TEXT;
        p->text = item->child->valuestring;
    } else
        return false;
    return true;
}

gf_status gf_facts_hparams(const gf_options *o, cJSON **root, gf_hparam **param, int *count,
                           gf_err *err)
{
    gf_buf text = {0};
    cJSON *item;
    *count = 0;
    gf_status st = gf_options_json(o, &text, err);
    if (st == GF_OK)
        st = gf_json_parse(root, text.data, text.len, "options", 1, err);
    gf_buf_free(&text);
    TRY(st);
    *param = gf_alloc((size_t)cJSON_GetArraySize(*root), sizeof **param, err);
    if (!*param)
        return GF_ENOMEM;
    cJSON_ArrayForEach(item, *root) if (as_hparam(&(*param)[*count], item))++ *count;
    return GF_OK;
}

/* ---- where it goes ------------------------------------------------------------------------ */

static gf_status check_metrics_file(const char *path, gf_err *err)
{
    const size_t n = strlen(path);
    const char *name = gf_path_name(path);
    if (n < 6 || strcmp(path + n - 5, ".prom") != 0)
        return gf_fail(err, GF_EARG,
                       "--metrics-file %s: node exporters read only files whose name ends in .prom",
                       path);
    char *folder =
        name == path ? gf_strdup(".", err) : gf_strndup(path, (size_t)(name - path), err);
    if (!folder)
        return GF_ENOMEM;
    const bool there = gf_dir_exists(folder);
    free(folder);
    return there ? GF_OK
                 : gf_fail(err, GF_EARG, "--metrics-file %s: there is no such folder", path);
}

gf_status gf_facts_targets(const gf_options *o, bool *tensorboard, bool *html, gf_err *err)
{
    const char *at = o->report_to;
    *tensorboard = *html = false;
    if (strcmp(at, "none") != 0)
        for (size_t n;; at += n + 1) {
            n = strcspn(at, ",");
            if (n == 11 && !strncmp(at, "tensorboard", n))
                *tensorboard = true;
            else if (n == 4 && !strncmp(at, "html", n))
                *html = true;
            else
                return gf_fail(err, GF_EARG,
                               "--report-to %s: want tensorboard, html, both as a list, or none",
                               o->report_to);
            if (!at[n])
                break;
        }
    return o->metrics_file ? check_metrics_file(o->metrics_file, err) : GF_OK;
}
