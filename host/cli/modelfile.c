#include "cli/modelfile.h"

#include "base/file.h"
#include "base/hash.h"
#include "text/ollama_template.h"

#include <stdlib.h>
#include <string.h>

/* ---- where it comes from ---------------------------------------------------------------- */

/* A path or hash from a file as part of a comment: on its line it stays. */
static gf_status add_shown(gf_buf *b, const char *text, gf_err *err)
{
    for (const char *p = text; *p; p++)
        TRY(gf_buf_add(b, (unsigned char)*p < 0x20 ? "?" : p, 1, err));
    return GF_OK;
}

static gf_status add_fact(gf_buf *b, const char *what, const char *value, const char *hash,
                          gf_err *err)
{
    TRY(gf_buf_printf(b, err, "# %-8s ", what));
    TRY(add_shown(b, value, err));
    if (hash) {
        TRY(gf_buf_str(b, "  sha256 ", err));
        TRY(add_shown(b, hash, err));
    }
    return gf_buf_str(b, "\n", err);
}

/* [{"path":..., "sha256":...}, ...] of run.json. */
static gf_status add_files(gf_buf *b, const char *what, const cJSON *list, gf_err *err)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *path = cJSON_GetObjectItemCaseSensitive(item, "path");
        const cJSON *hash = cJSON_GetObjectItemCaseSensitive(item, "sha256");
        if (cJSON_IsString(path))
            TRY(add_fact(b, what, path->valuestring,
                         cJSON_IsString(hash) ? hash->valuestring : NULL, err));
    }
    return GF_OK;
}

static gf_status add_provenance(const gf_modelfile *m, gf_buf *b, gf_err *err)
{
    gf_sha256 hash;
    char *file = gf_path_join(m->adapter, "adapter_model.safetensors", err);
    gf_status st = file ? GF_OK : GF_ENOMEM;
    TRYG(st);
    TRYG(gf_hash_file(&hash, file, err));
    TRYG(gf_buf_printf(b, err,
                       "# Written by graft %s. To use it here:\n"
                       "#   ollama create my-model -f Modelfile && ollama run my-model\n#\n",
                       GRAFT_VERSION));
    TRYG(add_fact(b, "adapter", file, hash.hex, err));
    const cJSON *graft = cJSON_GetObjectItemCaseSensitive(m->run, "graft");
    const cJSON *when = cJSON_GetObjectItemCaseSensitive(m->run, "written");
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(m->run, "model");
    if (cJSON_IsString(graft) && cJSON_IsString(when)) {
        TRYG(gf_buf_str(b, "# trained  by graft ", err));
        TRYG(add_shown(b, graft->valuestring, err));
        TRYG(gf_buf_str(b, ", ", err));
        TRYG(add_shown(b, when->valuestring, err));
        TRYG(gf_buf_str(b, "\n", err));
    }
    TRYG(add_files(b, "base", cJSON_GetObjectItemCaseSensitive(model, "files"), err));
    TRYG(add_files(b, "data", cJSON_GetObjectItemCaseSensitive(m->run, "data"), err));
out:
    free(file);
    return st;
}

/* ---- FROM ------------------------------------------------------------------------------- */

static gf_status add_from(const gf_modelfile *m, gf_buf *b, gf_buf *said, gf_err *err)
{
    if (!m->base_is_gguf) {
        TRY(gf_buf_str(b,
                       "\n# The base as a GGUF file, which is to be put here:\n"
                       "#   graft convert --output base.gguf --model ",
                       err));
        TRY(add_shown(b, m->base_path, err));
        TRY(gf_buf_str(b, "\nFROM ./base.gguf\n", err));
        return gf_buf_printf(said, err,
                             "FROM wants the base as a GGUF: graft convert --model %s --output "
                             "base.gguf, in that folder\n",
                             m->base_path);
    }
    char *path = realpath(m->base_path, NULL);
    const char *shown = path ? path : m->base_path;
    gf_status st = GF_OK;
    if (strpbrk(shown, "\n\r\""))
        st = gf_fail(err, GF_EARG, "%s: a Modelfile cannot hold such a path", shown);
    else
        st = gf_buf_printf(b, err, "\nFROM %s\n", shown);
    free(path);
    return st;
}

/* ---- TEMPLATE and PARAMETER stop -------------------------------------------------------- */

static gf_status add_template(const gf_ollama_template *t, const char *jinja, gf_buf *b,
                              gf_buf *said, gf_err *err)
{
    if (!t->text.len) {
        TRY(gf_buf_printf(b, err,
                          "\n# No TEMPLATE: %s.\n# Ollama then looks at the one in the base's "
                          "GGUF.\n",
                          t->why));
        return gf_buf_printf(said, err, "no TEMPLATE: %s; Ollama then looks at the base's own\n",
                             t->why);
    }
    TRY(gf_buf_str(b, "\n# What the model's own chat template gives, which it was trained with.\n",
                   err));
    if (strstr(jinja, "strftime_now"))
        TRY(gf_buf_str(
            b,
            "# The model's template may ask for the day; where a date stands below, it is "
            "that of the export.\n",
            err));
    if (t->strips)
        TRY(gf_buf_str(b, "# It strips blanks around messages, too, which this one can't.\n", err));
    if (t->no_system)
        TRY(gf_buf_str(b,
                       "# It takes no system message; here one stands before the first "
                       "question.\n",
                       err));
    if (t->lacks_bos)
        TRY(gf_buf_str(b,
                       "# Training had no BOS token in front; this model's runtime puts one "
                       "there.\n",
                       err));
    return gf_buf_printf(b, err, "TEMPLATE \"\"\"%s\"\"\"\n", t->text.data);
}

/* Once each; a Modelfile has no means to quote a quote. */
static gf_status add_stop(const char *text, gf_buf *stops, gf_err *err)
{
    if (!text || !*text || strpbrk(text, "\"\n\r"))
        return GF_OK;
    char *line = gf_format(err, "PARAMETER stop \"%s\"\n", text);
    if (!line)
        return GF_ENOMEM;
    const bool there = stops->len && strstr(stops->data, line);
    const gf_status st = there ? GF_OK : gf_buf_str(stops, line, err);
    free(line);
    return st;
}

static gf_status add_turns(const gf_modelfile *m, gf_buf *b, gf_buf *said, gf_err *err)
{
    gf_ollama_template t = {0};
    gf_buf stops = {0};
    char *jinja = NULL;
    gf_status st = GF_OK;
    const gf_tokenizer *k = m->session->tokenizer;
    TRYG(gf_session_template(m->session, false, err));
    TRYG(gf_session_template_text(m->session, &jinja, err));
    k = m->session->tokenizer;
    if (m->session->chat && k) {
        const gf_ollama_tokens tokens = {.bos = gf_tokenizer_token(k, gf_tokenizer_bos(k)),
                                         .eos = gf_tokenizer_token(k, gf_tokenizer_eos(k)),
                                         .pad = gf_tokenizer_token(k, gf_tokenizer_pad(k)),
                                         .unk = gf_tokenizer_token(k, gf_tokenizer_unk(k)),
                                         .adds_bos = gf_tokenizer_adds_bos(k)};
        TRYG(gf_ollama_template_make(&t, m->session->chat, &tokens, err));
        TRYG(add_template(&t, jinja, b, said, err));
    } else {
        TRYG(
            gf_buf_str(b, "\n# No TEMPLATE: neither adapter nor base has a chat template.\n", err));
    }
    TRYG(add_stop(t.stop, &stops, err));
    for (int i = 0; k && i < m->base->eos_count; i++)
        TRYG(add_stop(gf_tokenizer_token(k, m->base->eos[i]), &stops, err));
    if (stops.len)
        TRYG(gf_buf_printf(b, err, "\n%s", stops.data));
out:
    gf_buf_free(&stops);
    gf_ollama_template_free(&t);
    free(jinja);
    return st;
}

gf_status gf_modelfile_text(const gf_modelfile *m, gf_buf *out, gf_buf *said, gf_err *err)
{
    TRY(add_provenance(m, out, err));
    TRY(add_from(m, out, said, err));
    TRY(gf_buf_printf(out, err, "ADAPTER ./%s\n", m->gguf));
    return add_turns(m, out, said, err);
}
