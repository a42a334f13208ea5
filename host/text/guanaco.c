/* Texts: plain ones, and conversations written out with ### Human: or [INST] markers. */
#include "text/dataset_parts.h"

#include <string.h>

bool gf_guanaco_begins(const char *text)
{
    static const char *const marker[] = {"### Human:", "### Assistant:", "[INST]", "<s>[INST]",
                                         "<s> [INST]"};
    text += strspn(text, " \t\r\n");
    for (size_t i = 0; i < sizeof marker / sizeof marker[0]; i++)
        if (strncmp(text, marker[i], strlen(marker[i])) == 0)
            return true;
    return false;
}

static bool at(const char *s, const char *what)
{
    return strncmp(s, what, strlen(what)) == 0;
}

/* From `from` to the next byte where training is switched, and to what; the text's end
 * if nowhere. */
static size_t next_switch(const char *s, size_t from, bool *on)
{
    for (size_t i = from; s[i] != '\0'; i++) {
        if (!*on && at(s + i, "### Assistant:")) {
            *on = true;
            return i + strlen("### Assistant:");
        }
        if (!*on && at(s + i, "[/INST]")) {
            *on = true;
            return i + strlen("[/INST]");
        }
        if (*on && at(s + i, "</s>")) {
            *on = false;
            return i + strlen("</s>");
        }
        if (*on && (at(s + i, "### Human:") || at(s + i, "[INST]") || at(s + i, "<s>[INST]"))) {
            *on = false;
            return i;
        }
    }
    return strlen(s);
}

/* Labels the tokens whose first byte is trained. */
static void label_answers(const gf_record *r, const char *text, const gf_tokens *t)
{
    bool on = false;
    const size_t n = strlen(text);
    for (size_t from = 0; from < n;) {
        const bool trained = on;
        const size_t to = next_switch(text, from, &on);
        for (int64_t i = 0; i < t->count && trained; i++)
            if (t->start[i] >= (int64_t)from && t->start[i] < (int64_t)to)
                r->e->labels[i] = t->id[i];
        if (to == from && trained == on)
            break;
        from = to;
    }
}

/* Adds the end token unless the text ends with it. */
gf_status gf_end_text(const gf_record *r, gf_tokens *t, size_t size)
{
    const int32_t eos = gf_tokenizer_eos(r->opt->tokenizer);
    if (eos < 0 || (t->count > 0 && t->id[t->count - 1] == eos))
        return GF_OK;
    if (t->count == t->cap) {
        const size_t cap = (size_t)t->cap + 1;
        int32_t *id = gf_realloc(t->id, cap, sizeof *id, r->err);
        if (id == NULL)
            return GF_ENOMEM;
        t->id = id;
        int64_t *start = gf_realloc(t->start, cap, sizeof *start, r->err);
        if (start == NULL)
            return GF_ENOMEM;
        t->start = start;
        t->cap = (int64_t)cap;
    }
    t->id[t->count] = eos;
    t->start[t->count++] = (int64_t)size;
    return GF_OK;
}

/* A text that brings its <s> gets no second one. */
void gf_drop_second_bos(const gf_record *r, gf_tokens *t)
{
    const int32_t bos = gf_tokenizer_bos(r->opt->tokenizer);
    if (bos < 0 || t->count < 2 || t->id[0] != bos || t->id[1] != bos)
        return;
    t->count--;
    memmove(t->id, t->id + 1, (size_t)t->count * sizeof *t->id);
    memmove(t->start, t->start + 1, (size_t)t->count * sizeof *t->start);
}

static gf_status check_train_on(const gf_record *r, bool guanaco)
{
    const gf_train_on on = r->opt->train_on;
    if (on == GF_TRAIN_DEFAULT || on == GF_TRAIN_ALL || (guanaco && on == GF_TRAIN_ASSISTANT))
        return GF_OK;
    return gf_fail(r->err, GF_EARG, "%s: a %s record has no %s to train on: use --train-on %s",
                   r->place, guanaco ? "guanaco" : "text",
                   on == GF_TRAIN_ASSISTANT ? "assistant" : "completion",
                   guanaco ? "assistant or all" : "all");
}

gf_status gf_text_example(const gf_record *r, bool guanaco)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(r->json, "text");
    gf_tokens t = {0};
    TRY(check_train_on(r, guanaco));
    TRY(gf_record_need_tokenizer(r));
    if (!cJSON_IsString(text))
        return gf_record_fail(r, "\"text\" must be a string");
    const char *s = text->valuestring;
    const size_t n = strlen(s);
    gf_err local = {0};
    gf_status st = gf_tokenizer_encode(r->opt->tokenizer, s, n, true, &t, &local);
    if (st != GF_OK) {
        gf_fail(r->err, st, "%s: %s", r->place, local.text);
        goto out;
    }
    if (guanaco)
        gf_drop_second_bos(r, &t);
    TRYG(gf_end_text(r, &t, n));
    TRYG(gf_record_tokens(r, &t));
    r->e->text = gf_loose_hash(s, n);
    if (guanaco && r->opt->train_on != GF_TRAIN_ALL) {
        label_answers(r, s, &t);
        if (t.count > 0 && t.id[t.count - 1] == gf_tokenizer_eos(r->opt->tokenizer))
            r->e->labels[t.count - 1] = t.id[t.count - 1];
    } else if (t.count > 0) {
        memcpy(r->e->labels, t.id, (size_t)t.count * sizeof *t.id);
    }
    if (r->rendered != NULL)
        TRYG(gf_buf_str(r->rendered, s, r->err));
out:
    gf_tokens_free(&t);
    return st;
}
