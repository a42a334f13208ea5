/* data_show.c - contract: data_show.h. */
#include "cli/data_show.h"

static const struct marks {
    const char *open, *close, *head, *body;
} plain = {"[[", "]]", "", ""}, green = {"\x1b[32m", "\x1b[0m", "\x1b[2m", "\x1b[0m"};

/* What ids[first, end) add to the text of the ids before them: some decoders treat the first token
 * of a text in another way, so that a piece is never decoded alone. */
static gf_status piece(gf_tokenizer *t, const int32_t *ids, int64_t first, int64_t end, gf_buf *out,
                       gf_err *err)
{
    enum {
        CONTEXT = 8
    }; /* tokens that settle how a piece begins; a character has at most 4 bytes */
    const int64_t from = first > CONTEXT ? first - CONTEXT : 0;
    gf_buf before = {0}, now = {0};
    gf_status st = GF_OK;
    TRYG(gf_tokenizer_decode(t, ids + from, first - from, false, &before, err));
    TRYG(gf_tokenizer_decode(t, ids + from, end - from, false, &now, err));
    if (now.len > before.len)
        TRYG(gf_buf_add(out, now.data + before.len, now.len - before.len, err));
out:
    gf_buf_free(&before);
    gf_buf_free(&now);
    return st;
}

static gf_status numbers(const int32_t *ids, int64_t first, int64_t end, gf_buf *out, gf_err *err)
{
    for (int64_t i = first; i < end; i++)
        TRY(gf_buf_printf(out, err, i > first ? " %d" : "%d", ids[i]));
    return GF_OK;
}

/* Label 0 is never counted, so its token is shown as not trained. */
static bool is_trained(const gf_example *e, int64_t t)
{
    return t > 0 && e->labels[t] != -100;
}

/* Tokens [first, last), and the line's end. */
static gf_status stretch(gf_data_view *v, const gf_example *e, int64_t first, int64_t last,
                         gf_err *err)
{
    const struct marks m = v->color ? green : plain;
    gf_buf *out = &v->out;
    for (int64_t i = first, end; i < last; i = end) {
        const bool trained = is_trained(e, i);
        for (end = i + 1; end < last && is_trained(e, end) == trained; end++)
            ;
        if (i > first && !v->tokenizer)
            TRY(gf_buf_str(out, " ", err));
        TRY(gf_buf_str(out, trained ? m.open : "", err));
        TRY(v->tokenizer ? piece(v->tokenizer, e->ids, i, end, out, err)
                         : numbers(e->ids, i, end, out, err));
        TRY(gf_buf_str(out, trained ? m.close : "", err));
    }
    const bool ended = first < last && out->len > 0 && out->data[out->len - 1] == '\n';
    return ended ? GF_OK : gf_buf_str(out, "\n", err);
}

static gf_status show_turn(gf_data_view *v, const gf_example *e, const char *role, int number,
                           int64_t first, int64_t last, gf_err *err)
{
    const struct marks m = v->color ? green : plain;
    int64_t trained = 0;
    for (int64_t t = first; t < last; t++)
        trained += is_trained(e, t);
    TRY(gf_buf_printf(&v->out, err, "%s-- turn %d, %s: %lld of %lld tokens trained%s\n", m.head,
                      number, role, (long long)trained, (long long)(last - first), m.body));
    return stretch(v, e, first, last, err);
}

gf_status gf_data_show(void *ctx, int64_t number, const gf_example *e, const gf_turns *turns,
                       gf_err *err)
{
    gf_data_view *v = ctx;
    const struct marks m = v->color ? green : plain;
    int64_t first = 0;
    TRY(gf_buf_printf(&v->out, err, "%s--- example %lld, %s:%lld, %lld tokens, %lld trained%s\n",
                      m.head, (long long)number, e->file, (long long)e->line, (long long)e->length,
                      (long long)e->trained, m.body));
    for (int i = 0; i < turns->count; i++) { /* of one that was cut off, as far as it goes */
        const int64_t end = turns->turn[i].end < e->length ? turns->turn[i].end : e->length;
        TRY(show_turn(v, e, turns->turn[i].role, i + 1, first, end, err));
        first = end;
    }
    return first < e->length ? stretch(v, e, first, e->length, err) : GF_OK;
}
