/* record.c - see record.h. */
#include "cli/record.h"

#include "base/file.h"
#include "cli/machine.h"

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the base's hash --------------------------------------------------------------- */

struct gf_base_hash {
    pthread_t thread;
    const gf_source *source;
    gf_sha256 *hex; /* [source->files] */
    gf_status st;
    gf_err err;
};

static void *hash_files(void *arg)
{
    gf_base_hash *h = arg;
    for (int i = 0; h->st == GF_OK && i < h->source->files; i++)
        h->st = gf_hash_file(&h->hex[i], h->source->file[i].path, &h->err);
    return NULL;
}

gf_status gf_base_hash_start(gf_base_hash **out, const gf_files *files, gf_err *err)
{
    gf_base_hash *h = gf_alloc(1, sizeof *h, err);
    if (!h)
        return GF_ENOMEM;
    h->source = gf_files_source(files);
    h->hex = gf_alloc((size_t)h->source->files, sizeof *h->hex, err);
    if (!h->hex || pthread_create(&h->thread, NULL, hash_files, h)) {
        free(h->hex);
        free(h);
        return gf_fail(err, GF_ENOMEM, "a thread could not be started");
    }
    *out = h;
    return GF_OK;
}

static gf_status file_and_hash(gf_buf *b, const char *path, const gf_sha256 *hash, gf_err *err)
{
    TRY(gf_buf_str(b, "{\"path\":", err));
    TRY(gf_json_quote(b, path, strlen(path), err));
    return gf_buf_printf(b, err, ",\"sha256\":\"%s\"}", hash->hex);
}

gf_status gf_base_hash_end(gf_base_hash *h, gf_buf *json, gf_err *err)
{
    pthread_join(h->thread, NULL);
    gf_status st = h->st == GF_OK ? GF_OK : gf_fail(err, h->st, "%s", h->err.text);
    for (int i = 0; st == GF_OK && i < h->source->files; i++) {
        st = gf_buf_str(json, i ? "," : "[", err);
        if (st == GF_OK)
            st = file_and_hash(json, h->source->file[i].path, &h->hex[i], err);
    }
    if (st == GF_OK)
        st = gf_buf_str(json, "]", err);
    free(h->hex);
    free(h);
    return st;
}

/* ---- the pieces ----------------------------------------------------------------------- */

/* [{"path":…,"sha256":…},…], or only the hashes. */
static gf_status hash_list(gf_buf *b, const gf_strings *files, bool paths, gf_err *err)
{
    TRY(gf_buf_str(b, "[", err));
    for (int i = 0; i < files->count; i++) {
        gf_sha256 hash;
        TRY(gf_hash_file(&hash, files->item[i], err));
        if (i)
            TRY(gf_buf_str(b, ",", err));
        if (paths)
            TRY(file_and_hash(b, files->item[i], &hash, err));
        else
            TRY(gf_buf_printf(b, err, "\"%s\"", hash.hex));
    }
    return gf_buf_str(b, "]", err);
}

static gf_status template_hash(gf_session *s, gf_buf *b, gf_err *err)
{
    char *text;
    gf_sha256 hash;
    TRY(gf_session_template_text(s, &text, err));
    if (!text)
        return gf_buf_str(b, "null", err);
    const gf_status st = gf_hash_bytes(&hash, text, strlen(text), err);
    free(text);
    TRY(st);
    return gf_buf_printf(b, err, "\"%s\"", hash.hex);
}

/* Names, types, shapes and places of all tensors, and how each begins. A base that was trained on
 * has the same headers, but no tensor of it begins alike; and reading so little takes no time. */
static gf_status tensors_hash(const gf_source *src, gf_buf *b, gf_err *err)
{
    enum { BEGINNING = 4096 }; /* bytes: a page, which one read brings */
    gf_buf text = {0};
    gf_sha256 hash;
    gf_status st = GF_OK;
    char data[BEGINNING];
    for (int i = 0; st == GF_OK && i < src->count; i++) {
        const gf_entry *e = &src->entry[i];
        st = gf_buf_printf(&text, err, "%s %s %lld %lld %lld %lld %llu\n", e->name, e->dtype_text,
                           (long long)e->dim[0], (long long)e->dim[1], (long long)e->dim[2],
                           (long long)e->dim[3], (unsigned long long)e->offset);
        const size_t n = e->bytes < BEGINNING ? (size_t)e->bytes : BEGINNING;
        if (st == GF_OK)
            st = gf_source_read(src, e, 0, data, n, err);
        if (st == GF_OK)
            st = gf_buf_add(&text, data, n, err);
    }
    if (st == GF_OK)
        st = gf_hash_bytes(&hash, text.data, text.len, err);
    if (st == GF_OK)
        st = gf_buf_printf(b, err, "\"%s\"", hash.hex);
    gf_buf_free(&text);
    return st;
}

/* Of DIR/NAME; null if it is not there. */
static gf_status file_hash(const char *dir, const char *name, gf_buf *b, gf_err *err)
{
    gf_sha256 hash;
    char *path = gf_path_join(dir, name, err);
    gf_status st = path ? GF_OK : GF_ENOMEM;
    if (path && !gf_file_exists(path)) {
        st = gf_buf_str(b, "null", err);
    } else if (path) {
        st = gf_hash_file(&hash, path, err);
        if (st == GF_OK)
            st = gf_buf_printf(b, err, "\"%s\"", hash.hex);
    }
    free(path);
    return st;
}

/* What the model's numbers mean: config.json and tokenizer.json, or a GGUF's metadata. */
static gf_status meaning_hashes(const gf_files *f, gf_buf *b, gf_err *err)
{
    gf_sha256 hash;
    if (!f->is_gguf) {
        TRY(gf_buf_str(b, ",\"config_sha256\":", err));
        TRY(file_hash(f->path, "config.json", b, err));
        TRY(gf_buf_str(b, ",\"tokenizer_sha256\":", err));
        return file_hash(f->path, "tokenizer.json", b, err);
    }
    uint64_t end = f->gguf.map.size; /* where the tensors begin */
    for (int i = 0; i < f->gguf.source.count; i++)
        if (f->gguf.source.entry[i].offset < end)
            end = f->gguf.source.entry[i].offset;
    TRY(gf_hash_bytes(&hash, f->gguf.map.data, (size_t)end, err));
    return gf_buf_printf(b, err, ",\"metadata_sha256\":\"%s\"", hash.hex);
}

/* ---- identity ------------------------------------------------------------------------- */

/* Options whose value is a path: what it holds counts, not where it lies. */
static bool is_path(const char *name)
{
    static const char *const paths[] = {"model",         "data",         "eval_data",
                                        "chat_template", "init_adapter", "config"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!strcmp(paths[i], name))
            return true;
    return false;
}

static gf_status init_adapter_hash(const gf_options *o, gf_buf *b, gf_err *err)
{
    if (!o->init_adapter)
        return gf_buf_str(b, "null", err);
    return file_hash(o->init_adapter, "adapter_model.safetensors", b, err);
}

gf_status gf_record_identity(gf_session *s, gf_buf *out, gf_err *err)
{
    gf_buf all = {0};
    cJSON *root = NULL;
    gf_status st = GF_OK;
    TRYG(gf_options_json(s->o, &all, err));
    TRYG(gf_json_parse(&root, all.data, all.len, "options", 1, err));
    TRYG(gf_buf_str(out, "{\"data_sha256\":", err));
    TRYG(hash_list(out, &s->o->data, false, err));
    TRYG(gf_buf_str(out, ",\"eval_data_sha256\":", err));
    TRYG(hash_list(out, &s->o->eval_data, false, err));
    TRYG(gf_buf_str(out, ",\"chat_template_sha256\":", err));
    TRYG(template_hash(s, out, err));
    TRYG(gf_buf_str(out, ",\"init_adapter_sha256\":", err));
    TRYG(init_adapter_hash(s->o, out, err));
    TRYG(gf_buf_str(out, ",\"model_sha256\":", err));
    TRYG(tensors_hash(gf_files_source(&s->files), out, err));
    TRYG(meaning_hashes(&s->files, out, err));
    TRYG(gf_buf_printf(out, err, ",\"backend\":\"%s\"", s->backend.ops->name));
    if (s->backend.cuda) {
        const char *name = gf_backend_device(&s->backend)->name;
        TRYG(gf_buf_str(out, ",\"device_name\":", err));
        TRYG(gf_json_quote(out, name, strlen(name), err));
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        if (is_path(item->string) || gf_option_is_free(item->string))
            continue;
        char *value = cJSON_PrintUnformatted(item);
        st = value ? gf_buf_printf(out, err, ",\"%s\":%s", item->string, value) : GF_ENOMEM;
        free(value);
        if (st != GF_OK)
            goto out;
    }
    TRYG(gf_buf_str(out, "}", err));
out:
    cJSON_Delete(root);
    gf_buf_free(&all);
    return st;
}

/* ---- run.json ------------------------------------------------------------------------- */

static gf_status write_plan(gf_buf *b, const gf_record *r, gf_err *err)
{
    const gf_plan *p = r->plan;
    TRY(gf_buf_printf(b, err, "  \"plan\": {\"row_tokens\":%lld", (long long)p->row_tokens));
    for (int i = 0; i < GF_PARTS; i++)
        TRY(gf_buf_printf(b, err, ",\"%s\":{\"planned\":%zu,\"used\":%zu}",
                          gf_part_name((gf_part)i), p->part[i], r->arena->part[i].peak));
    return gf_buf_printf(b, err, ",\"total\":%zu,\"threads\":%zu,\"row_flops\":%lld},\n", p->total,
                         p->threads, (long long)p->row.flops);
}

/* What --lora-r and its like came to; with --init-adapter they come from there. */
static gf_status write_adapter(const gf_adapter *ad, gf_buf *b, gf_err *err)
{
    const gf_peft_config *c = &ad->config;
    TRY(gf_buf_printf(b, err, "  \"adapter\": {\"r\":%lld,\"lora_alpha\":", (long long)c->r));
    TRY(gf_json_number(b, c->lora_alpha, err));
    TRY(gf_buf_str(b, ",\"lora_dropout\":", err));
    TRY(gf_json_number(b, c->lora_dropout, err));
    return gf_buf_printf(b, err, ",\"use_rslora\":%s,\"modules\":%d,\"parameters\":%lld},\n",
                         c->use_rslora ? "true" : "false", ad->count, (long long)ad->size);
}

/* What besides graft may change a bit: the compiler, and the C library's exp, cos and log. */
static gf_status write_versions(gf_buf *b, gf_err *err)
{
#ifdef __clang__
    static const char compiler[] = __VERSION__;
#else
    static const char compiler[] = "gcc " __VERSION__;
#endif
    TRY(gf_buf_str(b, "  \"versions\": {\"compiler\":", err));
    TRY(gf_json_quote(b, compiler, sizeof compiler - 1, err));
#ifdef __GLIBC__
    TRY(gf_buf_printf(b, err, ",\"libc\":\"glibc %s\"", gnu_get_libc_version()));
#endif
    return gf_buf_str(b, "},\n", err);
}

static gf_status write_backend(const gf_session *s, const gf_record *r, gf_buf *b, gf_err *err)
{
    const gf_device *d = gf_backend_device(&s->backend);
    gf_machine machine;
    gf_machine_look(&machine);
    TRY(gf_buf_printf(b, err, "  \"backend\": {\"device\":\"%s\",\"precision\":\"%s\",",
                      s->backend.cuda ? "cuda" : "cpu",
                      gf_session_precision(s) == GF_BF16 ? "bf16" : "fp32"));
    if (s->backend.cuda) {
        TRY(gf_buf_str(b, "\"name\":", err));
        TRY(gf_json_quote(b, d->name, strlen(d->name), err));
        TRY(gf_buf_printf(b, err, ",\"compute_capability\":\"%d.%d\",\"memory\":%llu,", d->major,
                          d->minor, (unsigned long long)d->memory));
        const char *note = gf_backend_note(&s->backend);
        TRY(gf_buf_str(b, "\"libraries\":", err));
        TRY(gf_json_quote(b, note, strlen(note), err));
        TRY(gf_buf_str(b, ",", err));
    } else {
        TRY(gf_buf_printf(b, err, "\"isa\":\"%s\",\"threads\":%d,", s->backend.ops->name,
                          gf_backend_threads(&s->backend)));
    }
    TRY(gf_buf_printf(b, err, "\"ranks\":%d,\"cpu\":", r->ranks));
    TRY(gf_json_quote(b, machine.cpu, strlen(machine.cpu), err));
    return gf_buf_str(b, "},\n", err);
}

gf_status gf_record_json(gf_session *s, const gf_record *r, gf_buf *b, gf_err *err)
{
    char when[32];
    const time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));

    TRY(gf_buf_printf(b, err, "{\n  \"graft\": \"%s\",\n  \"written\": \"%s\",\n", GRAFT_VERSION,
                      when));
    TRY(write_versions(b, err));
    TRY(gf_buf_str(b, "  \"options\": ", err));
    TRY(gf_options_json(s->o, b, err));
    TRY(gf_buf_printf(b, err, ",\n  \"model\": {\"family\":\"%s\",\"files\":%s},\n",
                      s->files.config.family, r->base ? r->base : "null"));
    TRY(write_adapter(&s->adapter, b, err));
    TRY(gf_buf_str(b, "  \"data\": ", err));
    TRY(hash_list(b, &s->o->data, true, err));
    TRY(gf_buf_str(b, ",\n  \"eval_data\": ", err));
    TRY(hash_list(b, &s->o->eval_data, true, err));
    TRY(gf_buf_str(b, ",\n  \"chat_template_sha256\": ", err));
    TRY(template_hash(s, b, err));
    TRY(gf_buf_printf(
        b, err,
        ",\n  \"examples\": %lld,\n  \"examples_per_epoch\": %lld,\n  \"eval_examples\": %lld,\n",
        (long long)r->examples, (long long)r->epoch, (long long)r->eval_examples));
    TRY(write_backend(s, r, b, err));
    TRY(write_plan(b, r, err));
    TRY(gf_buf_printf(b, err, "  \"steps\": %lld,\n  \"steps_done\": %lld,\n", (long long)r->steps,
                      (long long)r->done));
    if (r->best_step >= 0) {
        TRY(gf_buf_printf(
            b, err, "  \"best_step\": %lld,\n  \"best_eval_loss\": ", (long long)r->best_step));
        TRY(gf_json_number(b, r->best_loss, err));
        TRY(gf_buf_str(b, ",\n", err));
    }
    if (r->adapter_hash)
        return gf_buf_printf(b, err, "  \"adapter_sha256\": \"%s\"\n}\n", r->adapter_hash);
    return gf_buf_str(b, "  \"adapter_sha256\": null\n}\n", err);
}
