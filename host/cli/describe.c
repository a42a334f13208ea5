/* describe.c - adapters, checkpoints, machines, and what all descriptions share. Contract:
 * describe.h. */
#include "cli/describe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/machine.h"
#include "base/number.h"

gf_status gf_describe_line(gf_buf *out, gf_err *err, const char *name, const char *fmt, ...)
{
    char value[1024]; /* two paths and a few words */
    va_list args;
    va_start(args, fmt);
    vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    return gf_buf_printf(out, err, "  %-18s %s\n", name, value);
}

static int64_t elements(const gf_entry *e)
{
    return e->dim[0] * e->dim[1] * e->dim[2] * e->dim[3];
}

gf_status gf_describe_tensors(const gf_source *source, gf_buf *out, gf_err *err)
{
    enum { KINDS = 32 }; /* dtypes named apart; files mix two or three */
    struct {
        const char *dtype;
        int64_t tensors, parameters;
        uint64_t bytes;
    } kind[KINDS], all = {.dtype = ""};
    int kinds = 0;
    for (int i = 0; i < source->count; i++) {
        const gf_entry *e = &source->entry[i];
        int k = 0;
        while (k < kinds && strcmp(kind[k].dtype, e->dtype_text) != 0)
            k++;
        if (k == kinds && kinds < KINDS) {
            memset(&kind[k], 0, sizeof kind[k]);
            kind[kinds++].dtype = e->dtype_text;
        }
        all.tensors++;
        all.parameters += elements(e);
        all.bytes += e->bytes;
        if (k < kinds) {
            kind[k].tensors++;
            kind[k].parameters += elements(e);
            kind[k].bytes += e->bytes;
        }
    }
    TRY(gf_describe_line(out, err, "parameters", "%s in %lld tensors, %s",
                         gf_number_count(all.parameters).text, (long long)all.tensors,
                         gf_number_bytes_short(all.bytes).text));
    for (int k = 0; k < kinds; k++)
        TRY(gf_describe_line(out, err, k ? "" : "stored as", "%s: %s in %lld tensors, %s",
                             kind[k].dtype, gf_number_count(kind[k].parameters).text,
                             (long long)kind[k].tensors,
                             gf_number_bytes_short(kind[k].bytes).text));
    return GF_OK;
}

/* ---- adapters ------------------------------------------------------------------------- */

static gf_status add_list(gf_buf *out, char *const *item, int count, gf_err *err)
{
    for (int i = 0; i < count; i++)
        TRY(gf_buf_printf(out, err, "%s%s", i ? ", " : "", item[i]));
    return GF_OK;
}

static gf_status line_of_list(gf_buf *out, const char *name, char *const *item, int count,
                              const char *regex, gf_err *err)
{
    gf_buf list = {0};
    gf_status st = regex ? gf_buf_str(&list, regex, err) : add_list(&list, item, count, err);
    if (st == GF_OK && list.len)
        st = gf_describe_line(out, err, name, "%s%s", regex ? "regex " : "", list.data);
    gf_buf_free(&list);
    return st;
}

static gf_status patterns(gf_buf *out, const char *name, const gf_pattern *p, int count,
                          gf_err *err)
{
    for (int i = 0; i < count; i++)
        TRY(gf_describe_line(out, err, i ? "" : name, "%s: %g", p[i].pattern, p[i].value));
    return GF_OK;
}

static gf_status adapter_config(const gf_peft_config *c, gf_buf *out, gf_err *err)
{
    TRY(gf_describe_line(out, err, "r", "%lld", (long long)c->r));
    TRY(gf_describe_line(out, err, "alpha", "%g (%s)", c->lora_alpha,
                         c->use_rslora ? "scale alpha / sqrt(r)" : "scale alpha / r"));
    if (c->use_dora)
        TRY(gf_describe_line(out, err, "DoRA", "yes: a magnitude for each row of a weight"));
    TRY(gf_describe_line(out, err, "dropout", "%g", c->lora_dropout));
    TRY(line_of_list(out, "targets", c->target, c->targets, c->target_regex, err));
    TRY(line_of_list(out, "without", c->exclude, c->excludes, c->exclude_regex, err));
    TRY(line_of_list(out, "trained in full", c->save, c->saves, NULL, err));
    for (int i = 0; i < c->layers; i++)
        TRY(gf_buf_printf(out, err, i ? ", %lld" : "  layers             %lld",
                          (long long)c->layer[i]));
    if (c->layers)
        TRY(gf_buf_str(out, "\n", err));
    TRY(patterns(out, "rank pattern", c->rank_pattern, c->rank_patterns, err));
    TRY(patterns(out, "alpha pattern", c->alpha_pattern, c->alpha_patterns, err));
    if (c->base_model)
        TRY(gf_describe_line(out, err, "made for", "%s", c->base_model));
    return GF_OK;
}

static gf_status adapter_on_model(gf_session *s, const char *dir, gf_buf *out, gf_err *err)
{
    gf_adapter ad = {0};
    gf_status st = GF_OK;
    float *value = NULL;
    TRYG(gf_session_files(s, err));
    TRYG(gf_adapter_open(&ad, dir, &s->files.config, err));
    value = gf_alloc((size_t)ad.size, sizeof *value, err);
    st = value ? gf_adapter_read(&ad, value, dir, err) : GF_ENOMEM;
    if (st == GF_OK)
        st = gf_describe_line(out, err, "on this model", "fits: %d modules, %s parameters",
                              ad.count, gf_number_count(ad.size).text);
out:
    free(value);
    gf_adapter_free(&ad);
    return st;
}

gf_status gf_describe_adapter(gf_session *s, const char *dir, gf_buf *out, gf_err *err)
{
    gf_peft_config config = {0};
    gf_source source = {0};
    gf_status st = GF_OK;
    char *json = gf_path_join(dir, "adapter_config.json", err);
    if (!json)
        return GF_ENOMEM;
    TRYG(gf_buf_printf(out, err, "adapter %s\n", dir));
    TRYG(gf_peft_read_config(&config, json, err));
    TRYG(adapter_config(&config, out, err));
    TRYG(gf_adapter_source(&source, dir, err));
    TRYG(gf_describe_tensors(&source, out, err));
    if (s->o->model)
        TRYG(adapter_on_model(s, dir, out, err));
out:
    gf_source_close(&source);
    gf_peft_config_free(&config);
    free(json);
    return st;
}

static gf_status gguf_adapter(const gf_gguf *g, gf_buf *out, gf_err *err)
{
    char *family = NULL;
    double alpha = 0;
    gf_status st = GF_OK;
    TRYG(gf_gguf_double(&alpha, g, "adapter.lora.alpha", 0, err));
    TRYG(gf_gguf_string(&family, g, "general.architecture", err));
    TRYG(gf_buf_printf(out, err, "adapter %s\n", g->path));
    TRYG(gf_describe_line(out, err, "format", "GGUF adapter"));
    TRYG(gf_describe_line(out, err, "family", "%s", family ? family : "unknown"));
    TRYG(gf_describe_line(out, err, "alpha", "%g (scale alpha / r)", alpha));
    TRYG(gf_describe_tensors(&g->source, out, err));
out:
    free(family);
    return st;
}

gf_status gf_describe_gguf_adapter(const char *path, gf_buf *out, gf_err *err)
{
    gf_gguf g = {0};
    char *type = NULL;
    gf_status st = gf_gguf_open_one(&g, path, NULL);
    if (st == GF_OK)
        st = gf_gguf_string(&type, &g, "general.type", NULL);
    if (st == GF_OK && type && !strcmp(type, "adapter"))
        st = gguf_adapter(&g, out, err);
    else
        st = GF_EMISSING;
    free(type);
    gf_gguf_close(&g);
    return st;
}

/* ---- checkpoints ---------------------------------------------------------------------- */

static gf_status add_value(gf_buf *out, const cJSON *item, gf_err *err)
{
    char *text = cJSON_PrintUnformatted(item);
    if (!text)
        return gf_fail(err, GF_ENOMEM, "no memory to print a value");
    const gf_status st = gf_describe_line(out, err, item->string, "%s", text);
    cJSON_free(text);
    return st;
}

gf_status gf_describe_checkpoint(const char *dir, gf_buf *out, gf_err *err)
{
    cJSON *root = NULL;
    gf_status st = GF_OK;
    const cJSON *item;
    char *path = gf_path_join(dir, "state.json", err);
    if (!path)
        return GF_ENOMEM;
    TRYG(gf_json_read(&root, path, err));
    if (!cJSON_IsObject(root)) {
        st = gf_fail(err, GF_EINPUT, "%s: want an object, got %s", path, gf_json_kind(root));
        goto out;
    }
    TRYG(gf_buf_printf(out, err, "checkpoint %s\n", dir));
    cJSON_ArrayForEach(item, root) if (!cJSON_IsObject(item) && !cJSON_IsArray(item))
        TRYG(add_value(out, item, err));
out:
    cJSON_Delete(root);
    free(path);
    return st;
}

/* ---- this machine --------------------------------------------------------------------- */

gf_status gf_describe_isas(gf_buf *list, char best[32], gf_err *err)
{
    static const char *const isas[] = {"avx512bf16", "avx512", "avx2", "plain"};
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        gf_backend be = {0};
        if (gf_backend_open_cpu(&be, 1, isas[i], NULL) != GF_OK)
            continue; /* this machine or build lacks it: that is the answer */
        if (!list->len)
            snprintf(best, 32, "%s", be.ops->name);
        const gf_status st = gf_buf_printf(list, err, "%s%s", list->len ? ", " : "", isas[i]);
        gf_backend_close(&be);
        TRY(st);
    }
    return GF_OK;
}

gf_status gf_describe_machine(gf_buf *out, gf_err *err)
{
    gf_machine m;
    gf_buf list = {0};
    gf_status st = GF_OK;
    char best[32] = "?";
    gf_machine_look(&m);
    TRYG(gf_describe_isas(&list, best, err));
    TRYG(gf_buf_str(out, "this machine\n", err));
    TRYG(gf_describe_line(out, err, "processor", "%s", m.cpu[0] ? m.cpu : "unknown"));
    TRYG(gf_describe_line(out, err, "threads", "%d", m.cores));
    TRYG(gf_describe_line(out, err, "instruction sets", "%s; auto takes %s", list.data, best));
    if (m.memory)
        TRYG(gf_describe_line(out, err, "memory", "%s, of which %s free",
                              gf_number_bytes_short(m.memory).text,
                              gf_number_bytes_short(m.free_).text));
    TRYG(gf_describe_gpus(out, err));
out:
    gf_buf_free(&list);
    return st;
}
