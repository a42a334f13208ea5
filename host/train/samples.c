/* samples.c - contract: samples.h. */
#include "train/samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A prompt with what has been answered so far. */
typedef struct {
    int32_t *ids; /* room for the prompt and all new tokens */
    int64_t count, first;
    bool done;
} text;

void gf_prompts_free(gf_prompts *p)
{
    for (int i = 0; i < p->count; i++) {
        free(p->item[i].text);
        free(p->item[i].wanted);
        gf_tokens_free(&p->item[i].ids);
    }
    free(p->item);
    *p = (gf_prompts){0};
}

int64_t gf_prompts_longest(const gf_prompts *p)
{
    int64_t longest = 0;
    for (int i = 0; i < p->count; i++) {
        const int64_t all = p->item[i].ids.count + p->new_tokens;
        longest = all > longest ? all : longest;
    }
    return longest;
}

static bool ends(const gf_prompts *p, int32_t id)
{
    for (int i = 0; i < p->stops; i++)
        if (p->stop[i] == id)
            return true;
    return false;
}

/* One more token for each text of [first, end) that is not done; *left: how many remain. */
static gf_status one_token(gf_model *m, const gf_prompts *p, text *t, int first, int end, int *left,
                           gf_err *err)
{
    gf_row_start(m);
    for (int i = first; i < end; i++) {
        if (t[i].done)
            continue;
        gf_row_add(m, t[i].ids, NULL, t[i].count, (uint64_t)i);
        gf_row_ask(m);
    }
    gf_status st = gf_model_run(m, false);
    if (st == GF_OK)
        st = gf_model_losses(m);
    TRY(gf_backend_said(m->be, st, err));
    *left = 0;
    for (int i = first, at = 0; i < end; i++) {
        if (t[i].done)
            continue;
        const int32_t best = m->host.best[at];
        if (!isfinite(m->host.nll[at++]) || best < 0 || best >= m->cfg->V)
            return gf_fail(err, GF_ENUMERIC,
                           "the model's numbers for sample prompt %d are not finite", i + 1);
        t[i].ids[t[i].count++] = best;
        t[i].done = ends(p, best) || t[i].count - t[i].first == p->new_tokens;
        *left += !t[i].done;
    }
    return GF_OK;
}

/* As many texts at a time as a row holds with their answers, to their ends. */
static gf_status answer_all(gf_model *m, const gf_prompts *p, text *t, gf_err *err)
{
    for (int first = 0, end; first < p->count; first = end) {
        int64_t tokens = 0;
        for (end = first; end < p->count; end++) {
            tokens += t[end].first + p->new_tokens;
            if (tokens > m->row.capacity && end > first)
                break;
        }
        for (int left = end - first; left > 0;)
            TRY(one_token(m, p, t, first, end, &left, err));
    }
    return GF_OK;
}

static gf_status answer_of(gf_answer *out, const gf_prompts *p, const text *t, gf_err *err)
{
    gf_buf b = {0};
    const bool ended = ends(p, t->ids[t->count - 1]);
    out->tokens = t->count - t->first;
    out->ended = ended;
    gf_tokens known = {0};
    gf_status st = GF_OK;
    known.id = gf_alloc((size_t)out->tokens, sizeof *known.id, err);
    if (!known.id)
        return GF_ENOMEM;
    for (int64_t i = t->first; i < t->count - ended;
         i++) /* a padded vocabulary has ids without text */
        if (gf_tokenizer_token(p->tokenizer, t->ids[i]))
            known.id[known.count++] = t->ids[i];
    st = gf_tokenizer_decode(p->tokenizer, known.id, known.count, true, &b, err);
    if (st == GF_OK && !(out->text = gf_strdup(b.data ? b.data : "", err)))
        st = GF_ENOMEM;
    gf_tokens_free(&known);
    gf_buf_free(&b);
    return st;
}

gf_status gf_samples_run(gf_answer **out, gf_model *m, const gf_prompts *p, gf_err *err)
{
    const float dropout = m->opt.dropout.p;
    gf_status st = GF_OK;
    text *t = gf_alloc((size_t)p->count, sizeof *t, err);
    gf_answer *a = gf_alloc((size_t)p->count, sizeof *a, err);
    if (!t || !a)
        st = GF_ENOMEM;
    for (int i = 0; st == GF_OK && i < p->count; i++) {
        const gf_tokens *ids = &p->item[i].ids;
        t[i].ids = gf_alloc((size_t)(ids->count + p->new_tokens), sizeof *t[i].ids, err);
        if (!t[i].ids) {
            st = GF_ENOMEM;
            break;
        }
        memcpy(t[i].ids, ids->id, (size_t)ids->count * sizeof *t[i].ids);
        t[i].count = t[i].first = ids->count;
    }
    m->opt.dropout.p = 0;
    if (st == GF_OK)
        st = answer_all(m, p, t, err);
    m->opt.dropout.p = dropout;
    for (int i = 0; st == GF_OK && i < p->count; i++)
        st = answer_of(&a[i], p, &t[i], err);
    for (int i = 0; t && i < p->count; i++)
        free(t[i].ids);
    free(t);
    if (st != GF_OK) {
        gf_answers_free(a, p->count);
        a = NULL;
    }
    *out = a;
    return st;
}

void gf_answers_free(gf_answer *a, int count)
{
    for (int i = 0; a && i < count; i++)
        free(a[i].text);
    free(a);
}
