/* What of each turn is trained, and where the turns stand (DESIGN 2.2). */
#include "text/conversation.h"

#include "text/template/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t common_prefix(const gf_buf *a, const gf_buf *b)
{
    size_t n = 0;
    while (n < a->len && n < b->len && a->data[n] == b->data[n])
        n++;
    return n;
}

/* The longest end of `text` that `pattern` begins with (Knuth, Morris, Pratt 1977). */
static gf_status overlap(const char *text, size_t n, const char *pattern, size_t m, size_t *out,
                         gf_err *err)
{
    if (n > m) { /* no more than the pattern can match */
        text += n - m;
        n = m;
    }
    size_t *border = gf_alloc(n + 1, sizeof *border, err);
    if (border == NULL)
        return GF_ENOMEM;
    size_t k = 0;
    for (size_t i = 1; i < n; i++) {
        while (k > 0 && pattern[i] != pattern[k])
            k = border[k - 1];
        k += pattern[i] == pattern[k];
        border[i] = k;
    }
    k = 0;
    for (size_t i = 0; i < n; i++) {
        while (k > 0 && (k == n || text[i] != pattern[k]))
            k = border[k - 1];
        k += text[i] == pattern[k];
    }
    free(border);
    *out = k;
    return GF_OK;
}

/* A common prefix that ends inside a token belongs to the next turn from that token's start on. */
static size_t token_boundary(const gf_conversation *c, size_t end)
{
    const gf_tokens *t = &c->t;
    for (int64_t i = 0; i < t->count; i++) {
        const size_t stop = i + 1 < t->count ? (size_t)t->start[i + 1] : c->whole.len;
        if ((size_t)t->start[i] < end && end < stop)
            return (size_t)t->start[i];
    }
    return end;
}

/* Where the turn's text ends in the whole. */
static gf_status turn_end(gf_conversation *c, const cJSON *m, int index, size_t start, size_t *end,
                          bool *differs)
{
    *end = c->whole.len;
    if (m->next == NULL)
        return GF_OK;
    gf_buf alone = {0};
    size_t prefix, more = 0;
    gf_status st;
    TRYG(gf_conversation_render(c, index + 1, false, &alone, "the conversation up to it"));
    prefix = common_prefix(&alone, &c->whole);
    *end = prefix;
    if (prefix == alone.len)
        goto out;
    *end = token_boundary(c, prefix);
    if (gf_content_occurs(c, m, start, prefix))
        goto out; /* only what ends a conversation differs */
    /* the whole leaves out a part of the turn: what follows that part ends it */
    *differs = true;
    TRYG(overlap(alone.data + prefix, alone.len - prefix, c->whole.data + prefix,
                 c->whole.len - prefix, &more, c->r->err));
    *end = prefix + more;
out:
    gf_buf_free(&alone);
    return st;
}

static bool blank(const char *s, size_t n)
{
    return gf_jtext_lstrip(s, n) == n;
}

/* The end of the last control token in [from, to) that only whitespace follows; `to` if none. */
static size_t control_end(const gf_conversation *c, size_t from, size_t to, bool *found)
{
    const gf_tokens *t = &c->t;
    *found = false;
    for (int64_t i = t->count - 1; i >= 0 && (size_t)t->start[i] >= from; i--) {
        const size_t stop = i + 1 < t->count ? (size_t)t->start[i + 1] : c->whole.len;
        if (stop > to || !gf_tokenizer_is_special(c->r->opt->tokenizer, t->id[i]))
            continue;
        if (!blank(c->whole.data + stop, to - stop))
            break;
        *found = true;
        return stop;
    }
    return to;
}

static gf_status label_turn(gf_conversation *c, const cJSON *m, int index)
{
    const gf_record *r = c->r;
    const char *role = gf_member(m, "role")->valuestring;
    gf_buf prompt = {0};
    gf_status st;
    bool differs, has_control;
    size_t end = 0;
    int64_t trained = 0;
    TRYG(gf_conversation_render(c, index, true, &prompt, "the conversation before it"));
    const size_t start = common_prefix(&prompt, &c->whole);
    differs = start < prompt.len;
    TRYG(turn_end(c, m, index, start, &end, &differs));
    if (!gf_content_occurs(c, m, start, end)) {
        st = gf_record_fail(r,
                            "turn %d (%.40s): its content is not in what the chat template "
                            "renders; set \"weight\": 0 on it, or use another template",
                            index + 1, role);
        goto out;
    }
    const size_t stop = control_end(c, start, end, &has_control);
    for (int64_t i = 0; i < c->t.count; i++)
        if ((size_t)c->t.start[i] >= start && (size_t)c->t.start[i] < stop) {
            r->e->labels[i] = c->t.id[i];
            trained++;
        }
    gf_record_answer(r, trained);
    if (r->stats != NULL) {
        r->stats->trained_turns++;
        r->stats->prefix_mismatch += differs;
        r->stats->no_end_token += !has_control;
    }
out:
    gf_buf_free(&prompt);
    return st;
}

/* ---- all turns, for those who look --------------------------------------------------- */

/* Tokens that begin before byte `end`. */
static int64_t tokens_before(const gf_conversation *c, size_t end)
{
    int64_t n = 0;
    while (n < c->t.count && (size_t)c->t.start[n] < end)
        n++;
    return n;
}

/* A turn whose beginning alone does not render ends where the one before does. */
static gf_status list_turns(gf_conversation *c)
{
    const gf_record *r = c->r;
    gf_err ignored = {0};
    gf_record quiet = *r;
    size_t at = 0;
    int index = 0;
    const cJSON *m;
    quiet.err = &ignored;
    cJSON_ArrayForEach(m, c->messages)
    {
        bool differs;
        size_t end = at;
        c->r = &quiet;
        if (turn_end(c, m, index++, at, &end, &differs) == GF_OK && end > at)
            at = end;
        c->r = r;
        gf_turn *p = gf_realloc(r->turns->turn, (size_t)index, sizeof *p, r->err);
        if (p == NULL)
            return GF_ENOMEM;
        r->turns->turn = p;
        r->turns->count = index;
        p[index - 1].end = tokens_before(c, at);
        snprintf(p[index - 1].role, sizeof p->role, "%s", gf_member(m, "role")->valuestring);
    }
    return GF_OK;
}

/* ---- labels ------------------------------------------------------------------------ */

gf_status gf_conversation_label(gf_conversation *c, int first)
{
    const gf_record *r = c->r;
    const bool all = r->opt->train_on == GF_TRAIN_ALL;
    if (r->opt->train_on == GF_TRAIN_ASSISTANT)
        first = 0;
    int index = 0;
    const cJSON *m;
    cJSON_ArrayForEach(m, c->messages)
    {
        if (!all && index >= first && gf_turn_is_assistant(m) && gf_turn_wanted(m))
            TRY(label_turn(c, m, index));
        index++;
    }
    if (all && c->t.count > 0)
        memcpy(r->e->labels, c->t.id, (size_t)c->t.count * sizeof *c->t.id);
    return r->turns == NULL ? GF_OK : list_turns(c);
}
