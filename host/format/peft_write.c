/* peft_write.c - adapter_config.json with every key that PEFT 0.21.2 writes. Contract:
 * format/peft.h; keys and defaults: FORMATS 4.1. */
#include "base/json.h"
#include "format/peft.h"

#include <string.h>

/* As Python's json.dumps writes it: ASCII only. PEFT opens the file in the reader's locale, where
 * raw UTF-8 may be read as something else. */
static gf_status add_string(gf_buf *b, const char *s, gf_err *err)
{
    gf_buf raw = {0};
    gf_status st = gf_json_quote(&raw, s, strlen(s), err);
    const unsigned char *p = (const unsigned char *)raw.data;
    for (size_t i = 0; st == GF_OK && i < raw.len;) {
        uint32_t cp = p[i];
        const size_t more = cp < 0x80 ? 0 : cp < 0xE0 ? 1 : cp < 0xF0 ? 2 : 3;
        if (more)
            cp &= 0x3Fu >> more; /* the lead byte's payload */
        for (size_t k = 1; k <= more; k++)
            cp = cp << 6 | (p[i + k] & 0x3Fu);
        i += more + 1;
        if (cp < 0x7F)
            st = gf_buf_add(b, &(char){(char)cp}, 1, err);
        else if (cp < 0x10000)
            st = gf_buf_printf(b, err, "\\u%04x", cp);
        else
            st = gf_buf_printf(b, err, "\\u%04x\\u%04x", 0xD800 + ((cp - 0x10000) >> 10),
                               0xDC00 + ((cp - 0x10000) & 0x3FF));
    }
    gf_buf_free(&raw);
    return st;
}

/* A Python float keeps its ".0"; an int has none. */
static gf_status add_number(gf_buf *b, double x, bool is_float, gf_err *err)
{
    const size_t start = b->len;
    TRY(gf_json_number(b, x, err));
    if (is_float && !strpbrk(b->data + start, ".en"))
        TRY(gf_buf_str(b, ".0", err));
    return GF_OK;
}

static gf_status add_key(gf_buf *b, const char *key, gf_err *err)
{
    return gf_buf_printf(b, err, "%s  \"%s\": ", b->len > 2 ? ",\n" : "", key);
}

static gf_status add_raw(gf_buf *b, const char *key, const char *value, gf_err *err)
{
    TRY(add_key(b, key, err));
    return gf_buf_str(b, value, err);
}

static gf_status add_modules(gf_buf *b, const char *key, char *const *list, int count,
                             const char *regex, gf_err *err)
{
    TRY(add_key(b, key, err));
    if (regex)
        return add_string(b, regex, err);
    if (!count)
        return gf_buf_str(b, "null", err);
    for (int i = 0; i < count; i++) {
        TRY(gf_buf_str(b, i ? ",\n    " : "[\n    ", err));
        TRY(add_string(b, list[i], err));
    }
    return gf_buf_str(b, "\n  ]", err);
}

static gf_status add_layers(gf_buf *b, const gf_peft_config *c, gf_err *err)
{
    TRY(add_key(b, "layers_to_transform", err));
    if (!c->layers)
        return gf_buf_str(b, "null", err);
    for (int i = 0; i < c->layers; i++)
        TRY(gf_buf_printf(b, err, "%s%lld", i ? ",\n    " : "[\n    ", (long long)c->layer[i]));
    return gf_buf_str(b, "\n  ]", err);
}

/* In the order given, unlike all other keys: the first pattern that matches counts. */
static gf_status add_patterns(gf_buf *b, const char *key, const gf_pattern *list, int count,
                              gf_err *err)
{
    TRY(add_key(b, key, err));
    if (!count)
        return gf_buf_str(b, "{}", err);
    for (int i = 0; i < count; i++) {
        TRY(gf_buf_str(b, i ? ",\n    " : "{\n    ", err));
        TRY(add_string(b, list[i].pattern, err));
        TRY(gf_buf_str(b, ": ", err));
        TRY(add_number(b, list[i].value, false, err));
    }
    return gf_buf_str(b, "\n  }", err);
}

static gf_status add_base(gf_buf *b, const gf_peft_config *c, gf_err *err)
{
    TRY(add_key(b, "base_model_name_or_path", err));
    return c->base_model ? add_string(b, c->base_model, err) : gf_buf_str(b, "null", err);
}

static gf_status add_all(gf_buf *b, const gf_peft_config *c, gf_err *err)
{
    TRY(gf_buf_str(b, "{\n", err));
    TRY(add_raw(b, "alora_invocation_tokens", "null", err));
    TRY(add_patterns(b, "alpha_pattern", c->alpha_pattern, c->alpha_patterns, err));
    TRY(add_raw(b, "arrow_config", "null", err));
    TRY(add_raw(b, "auto_mapping", "null", err));
    TRY(add_base(b, c, err));
    TRY(add_raw(b, "bias", "\"none\"", err));
    TRY(add_raw(b, "corda_config", "null", err));
    TRY(add_raw(b, "ensure_weight_tying", "false", err));
    TRY(add_raw(b, "eva_config", "null", err));
    TRY(add_modules(b, "exclude_modules", c->exclude, c->excludes, c->exclude_regex, err));
    TRY(add_raw(b, "fan_in_fan_out", "false", err));
    TRY(add_raw(b, "inference_mode", "true", err));
    TRY(add_raw(b, "init_lora_weights", "true", err));
    TRY(add_raw(b, "kasa_config", "null", err));
    TRY(add_raw(b, "layer_replication", "null", err));
    TRY(add_raw(b, "layers_pattern", "null", err));
    TRY(add_layers(b, c, err));
    TRY(add_raw(b, "loftq_config", "{}", err));
    TRY(add_key(b, "lora_alpha", err));
    TRY(add_number(b, c->lora_alpha, false, err));
    TRY(add_raw(b, "lora_bias", "false", err));
    TRY(add_key(b, "lora_dropout", err));
    TRY(add_number(b, c->lora_dropout, true, err));
    TRY(add_raw(b, "lora_ga_config", "null", err));
    TRY(add_raw(b, "megatron_config", "null", err));
    TRY(add_raw(b, "megatron_core", "\"megatron.core\"", err));
    TRY(add_modules(b, "modules_to_save", c->save, c->saves, NULL, err));
    TRY(add_raw(b, "monteclora_config", "null", err));
    TRY(add_raw(b, "peft_type", "\"LORA\"", err));
    TRY(add_raw(b, "peft_version", "\"0.21.2\"", err)); /* whose keys these are */
    TRY(add_raw(b, "qalora_group_size", "16", err));
    TRY(add_key(b, "r", err));
    TRY(gf_buf_printf(b, err, "%lld", (long long)c->r));
    TRY(add_patterns(b, "rank_pattern", c->rank_pattern, c->rank_patterns, err));
    TRY(add_raw(b, "revision", "null", err));
    TRY(add_modules(b, "target_modules", c->target, c->targets, c->target_regex, err));
    TRY(add_raw(b, "target_parameters", "null", err));
    TRY(add_raw(b, "task_type", "\"CAUSAL_LM\"", err));
    TRY(add_raw(b, "trainable_token_indices", "null", err));
    TRY(add_raw(b, "use_bdlora", "null", err));
    TRY(add_raw(b, "use_dora", c->use_dora ? "true" : "false", err));
    TRY(add_raw(b, "use_qalora", "false", err));
    TRY(add_raw(b, "use_rslora", c->use_rslora ? "true" : "false", err));
    TRY(add_raw(b, "velora_config", "null", err));
    return gf_buf_str(b, "\n}", err); /* PEFT ends the file here, too */
}

gf_status gf_peft_config_text(const gf_peft_config *c, const char *path, gf_buf *text, gf_err *err)
{
    if (c->layers && c->target_regex)
        return gf_fail(err, GF_EARG,
                       "%s: PEFT takes layers_to_transform only with a list of target_modules",
                       path);
    return add_all(text, c, err);
}

gf_status gf_peft_write_config(const gf_peft_config *c, const char *path, gf_err *err)
{
    gf_buf b = {0};
    gf_status st = gf_peft_config_text(c, path, &b, err);
    if (st == GF_OK)
        st = gf_file_write(path, b.data, b.len, err);
    gf_buf_free(&b);
    return st;
}
