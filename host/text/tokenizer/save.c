/* save.c - the tokenizer's files of a model folder. Contract: tokenizer.h; formats:
 * FORMATS 3.1 to 3.10. */
#include "base/file.h"
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

static gf_status write_in(const char *dir, const char *name, const char *data, size_t size,
                          gf_err *err)
{
    char *path = gf_path_join(dir, name, err);
    if (!path)
        return GF_ENOMEM;
    const gf_status st = gf_file_write(path, data, size, err);
    free(path);
    return st;
}

/* ---- from a folder: copies --------------------------------------------------------- */

/* tokenizer_config.json with another chat template: older readers look there first. */
static gf_status write_config(const char *dir, const char *path, const char *chat_template,
                              gf_err *err)
{
    cJSON *root = NULL;
    char *text = NULL;
    gf_status st;
    TRYG(gf_json_read(&root, path, err));
    if (cJSON_GetObjectItemCaseSensitive(root, "chat_template")) {
        cJSON *item = cJSON_CreateString(chat_template);
        if (!item || !cJSON_ReplaceItemInObjectCaseSensitive(root, "chat_template", item)) {
            cJSON_Delete(item);
            st = gf_fail(err, GF_ENOMEM, "%s: out of memory for the chat template", path);
            goto out;
        }
    }
    text = cJSON_Print(root);
    st = text ? write_in(dir, "tokenizer_config.json", text, strlen(text), err)
              : gf_fail(err, GF_ENOMEM, "%s: out of memory", path);
out:
    cJSON_free(text);
    cJSON_Delete(root);
    return st;
}

static gf_status copy(const gf_tokenizer *t, const char *dir, const char *name,
                      const char *chat_template, gf_err *err)
{
    gf_status st = GF_OK;
    char *data = NULL, *from = gf_path_join(t->dir, name, err);
    size_t size;
    if (!from)
        return GF_ENOMEM;
    if (!gf_file_exists(from))
        goto out;
    if (chat_template && strcmp(name, "tokenizer_config.json") == 0) {
        st = write_config(dir, from, chat_template, err);
        goto out;
    }
    TRYG(gf_file_read(from, &data, &size, err));
    st = write_in(dir, name, data, size, err);
out:
    free(data);
    free(from);
    return st;
}

static gf_status copy_all(const gf_tokenizer *t, const char *dir, const char *chat_template,
                          gf_err *err)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "tokenizer.model",       "vocab.json",
        "merges.txt",        "chat_template.jinja"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        TRY(copy(t, dir, names[i], chat_template, err));
    if (!chat_template)
        return GF_OK;
    return write_in(dir, "chat_template.jinja", chat_template, strlen(chat_template), err);
}

/* ---- from a GGUF or from memory: written ------------------------------------------- */

static gf_status role(gf_buf *b, const gf_tokenizer *t, const char *key, int32_t id, gf_err *err)
{
    size_t n;
    const char *text = gf_vocab_text(&t->vocab, id, &n);
    if (!text)
        return GF_OK;
    TRY(gf_buf_printf(b, err, "%s\n  \"%s\": ", b->len > 1 ? "," : "", key));
    return gf_json_quote(b, text, n, err);
}

static gf_status roles(gf_buf *b, const gf_tokenizer *t, gf_err *err)
{
    TRY(gf_buf_str(b, "{", err));
    TRY(role(b, t, "bos_token", t->bos, err));
    TRY(role(b, t, "eos_token", t->eos, err));
    TRY(role(b, t, "pad_token", t->pad, err));
    return role(b, t, "unk_token", t->unk, err);
}

static gf_status write_roles(const gf_tokenizer *t, const char *dir, gf_err *err)
{
    gf_buf b = {0};
    gf_status st;
    TRYG(roles(&b, t, err));
    TRYG(gf_buf_str(&b, "\n}\n", err));
    TRYG(write_in(dir, "special_tokens_map.json", b.data, b.len, err));
    b.len = 0;
    TRYG(roles(&b, t, err));
    TRYG(gf_buf_printf(&b, err,
                       "%s\n  \"clean_up_tokenization_spaces\": false,"
                       "\n  \"model_max_length\": 1000000000000000019884624838656,"
                       "\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n",
                       b.len > 1 ? "," : "")); /* that length is transformers' "unset" */
    st = write_in(dir, "tokenizer_config.json", b.data, b.len, err);
out:
    gf_buf_free(&b);
    return st;
}

gf_status gf_tokenizer_save(const gf_tokenizer *t, const char *dir, const char *chat_template,
                            gf_err *err)
{
    if (t->dir)
        return copy_all(t, dir, chat_template, err);
    gf_buf json = {0};
    gf_status st;
    TRYG(gf_tokenizer_print(t, &json, err));
    TRYG(write_in(dir, "tokenizer.json", json.data, json.len, err));
    TRYG(write_roles(t, dir, err));
    const char *text = chat_template ? chat_template : t->chat_template;
    if (text)
        TRYG(write_in(dir, "chat_template.jinja", text, strlen(text), err));
out:
    gf_buf_free(&json);
    return st;
}
