/* cmd_tokenize.c - `graft tokenize`: a text or conversations as the model sees them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/session.h"

static gf_status add_numbers(gf_buf *out, const int32_t *v, int64_t n, const char *between,
                             gf_err *err)
{
    for (int64_t i = 0; i < n; i++)
        TRY(gf_buf_printf(out, err, "%s%d", i ? between : "", v[i]));
    return GF_OK;
}

/* One result: a line of JSON, the template's text, or a line of ids. */
static gf_status print_result(const gf_options *o, const int32_t *ids, const int32_t *labels,
                              int64_t n, const gf_buf *text, gf_err *err)
{
    gf_buf out = {0};
    gf_status st = GF_OK;
    if (o->json) {
        TRYG(gf_buf_str(&out, "{\"ids\":[", err));
        TRYG(add_numbers(&out, ids, n, ",", err));
        TRYG(gf_buf_str(&out, "],\"labels\":[", err));
        TRYG(add_numbers(&out, labels, n, ",", err));
        TRYG(gf_buf_str(&out, "],\"text\":", err));
        TRYG(gf_json_quote(&out, text->data ? text->data : "", text->len, err));
        TRYG(gf_buf_str(&out, "}", err));
    } else if (o->render) {
        TRYG(gf_buf_add(&out, text->data ? text->data : "", text->len, err));
    } else {
        TRYG(add_numbers(&out, ids, n, " ", err));
    }
    fwrite(out.data ? out.data : "", 1, out.len, stdout);
    if (!out.len || out.data[out.len - 1] != '\n')
        putchar('\n');
out:
    gf_buf_free(&out);
    return st;
}

/* A plain text, as a prompt or the start of a text to train on: all of it is trained. */
static gf_status tokenize_text(gf_session *s, const char *text, gf_err *err)
{
    gf_tokens ids = {0};
    gf_buf copy = {0};
    gf_status st = GF_OK;
    TRYG(gf_session_tokenizer(s, true, err));
    TRYG(gf_tokenizer_encode(s->tokenizer, text, strlen(text), true, &ids, err));
    TRYG(gf_buf_str(&copy, text, err));
    TRYG(print_result(s->o, ids.id, ids.id, ids.count, &copy, err));
out:
    gf_tokens_free(&ids);
    gf_buf_free(&copy);
    return st;
}

static gf_status tokenize_record(const gf_options *o, const cJSON *record,
                                 const gf_data_options *opt, gf_err *err)
{
    gf_example e = {0};
    gf_dataset stats = {0};
    gf_buf text = {0};
    gf_status st = gf_dataset_example(&e, &text, record, opt, &stats, err);
    if (st == GF_OK)
        st = print_result(o, e.ids, e.labels, e.length, &text, err);
    gf_buf_free(&text);
    free(e.ids);
    free(e.labels);
    return st;
}

/* Records of a .jsonl file, one a line; blank lines are no records. */
static gf_status tokenize_lines(const gf_options *o, const char *path, const gf_data_options *opt,
                                gf_err *err)
{
    char *data;
    size_t size;
    gf_status st = GF_OK;
    int line = 0;
    TRY(gf_file_read(path, &data, &size, err));
    for (size_t at = 0; st == GF_OK && at < size;) {
        const char *end = memchr(data + at, '\n', size - at);
        const size_t n = end ? (size_t)(end - data) - at : size - at;
        const char *text = data + at;
        cJSON *record = NULL;
        gf_err own = {0};
        line++;
        at += n + 1;
        if (strspn(text, " \t\r") >= n)
            continue;
        st = gf_json_parse(&record, text, n, path, line, err);
        if (st == GF_OK && (st = tokenize_record(o, record, opt, &own)) != GF_OK)
            gf_fail(err, st, "%s:%d: %s", path, line, own.text);
        cJSON_Delete(record);
    }
    free(data);
    return st;
}

static gf_status tokenize_file(const gf_options *o, const char *path, const gf_data_options *opt,
                               gf_err *err)
{
    const size_t n = strlen(path);
    cJSON *record = NULL;
    gf_err own = {0};
    if (n > 6 && strcmp(path + n - 6, ".jsonl") == 0)
        return tokenize_lines(o, path, opt, err);
    TRY(gf_json_read(&record, path, err));
    const gf_status st = tokenize_record(o, record, opt, &own);
    cJSON_Delete(record);
    return st == GF_OK ? GF_OK : gf_fail(err, st, "%s: %s", path, own.text);
}

gf_status gf_cmd_tokenize(const gf_options *o, gf_err *err)
{
    gf_session s;
    gf_status st = GF_OK;
    if (!o->text == !o->messages)
        return gf_fail(err, GF_EARG, "tokenize wants either --text TEXT or --messages FILE");
    if (o->text && o->render)
        return gf_fail(err, GF_EARG,
                       "--render shows a conversation's template; it needs "
                       "--messages FILE");
    gf_session_start(&s, o);
    if (o->text) {
        st = tokenize_text(&s, o->text, err);
        goto out;
    }
    TRYG(gf_session_template(&s, true, err));
    const gf_data_options opt = {.tokenizer = s.tokenizer,
                                 .chat = s.chat,
                                 .vocab = gf_tokenizer_size(s.tokenizer),
                                 .train_on = (gf_train_on)o->train_on,
                                 .max_length = INT64_MAX,
                                 .lenient = true}; /* to be looked at */
    TRYG(tokenize_file(o, o->messages, &opt, err));
out:
    gf_session_close(&s);
    return st;
}
