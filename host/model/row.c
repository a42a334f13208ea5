/* row.c - filling a row: whole examples end to end, positions from 0 in each (DESIGN 2.1). */
#include "model/model.h"

#include <assert.h>
#include <string.h>

void gf_row_start(gf_model *m)
{
    m->row.spans.tokens = 0;
    m->row.spans.count = 0;
    m->row.spans.span = m->row.span;
    m->row.predicted = 0;
}

/* cos and sin of a span by RoPE number i. A row's first span begins with the positions that the
 * last row's did, and the others (which are no longer) copy them from there: what is computed is a
 * few new positions. Where angles depend on the length, all are. */
static void turn_span(gf_model *m, int i, int64_t start, int64_t count, int64_t first,
                      int64_t length)
{
    gf_row *r = &m->row;
    const gf_rope_spec *rope = &m->cfg->rope[i];
    float *cos = r->host.cos[i], *sin = r->host.sin[i];
    int64_t *turned = &r->turned[i];
    const int64_t C = rope->rotary / 2;
    const bool common = first == 0 && !gf_rope_by_length(rope);
    int64_t have = common ? (*turned < count ? *turned : count) : 0;
    if (start > 0 && have > start)
        have = start;
    if (start > 0 && have > 0) {
        memcpy(cos + start * C, cos, (size_t)(have * C) * sizeof(float));
        memcpy(sin + start * C, sin, (size_t)(have * C) * sizeof(float));
    }
    gf_rope_table(cos + (start + have) * C, sin + (start + have) * C, rope, first + have,
                  count - have, length);
    if (start == 0)
        *turned = common ? (*turned > count ? *turned : count) : 0;
    else if (*turned > start)
        *turned = start;
}

/* One span of `count` tokens that stand at positions from `first` of an example of `length`. */
static void add_span(gf_model *m, const int32_t *ids, int64_t count, int64_t first, int64_t length,
                     uint64_t example)
{
    gf_row *r = &m->row;
    const int64_t start = r->spans.tokens;
    assert(start + count <= r->capacity && r->spans.count < r->max_spans);
    memcpy(r->host.ids + start, ids, (size_t)count * sizeof *ids);
    for (int i = 0; i < m->cfg->ropes; i++)
        turn_span(m, i, start, count, first, length);
    r->span[r->spans.count++] = (gf_span){.start = start,
                                          .len = count,
                                          .kv_start = first ? 0 : start,
                                          .kv_len = first + count,
                                          .example = example};
    r->spans.tokens += count;
}

void gf_row_add(gf_model *m, const int32_t *ids, const int32_t *labels, int64_t length,
                uint64_t example)
{
    gf_row *r = &m->row;
    const int64_t start = r->spans.tokens;
    add_span(m, ids, length, 0, length, example);
    for (int64_t t = 1; labels && t < length; t++)
        if (labels[t] != -100) {
            r->host.index[r->predicted] = (int32_t)(start + t - 1);
            r->host.label[r->predicted++] = labels[t];
        }
}

void gf_row_ask(gf_model *m)
{
    gf_row *r = &m->row;
    r->host.index[r->predicted] = (int32_t)(r->spans.tokens - 1);
    r->host.label[r->predicted++] = 0; /* nobody asks for this loss */
}

/* The padding token's embedding stays as it is, as torch.nn.Embedding's padding_idx has it: in some
 * models it is zero, and what a norm makes of the gradient of a zero is beyond all measure. */
static void learn(gf_row *r, int32_t padding)
{
    for (int64_t i = 0; i < r->n; i++)
        r->host.learned[i] = r->host.ids[i] == padding ? -1 : r->host.ids[i];
}

/* Filler up to the row's bucket: -1 and 0, what the ops know it by. */
static void pad(gf_row *r, const gf_config *c)
{
    for (int rope = 0; rope < c->ropes; rope++) {
        const int64_t C = c->rope[rope].rotary / 2;
        if (r->turned[rope] > r->spans.tokens && r->n > r->spans.tokens)
            r->turned[rope] = r->spans.tokens;
        for (int64_t i = r->spans.tokens * C; i < r->n * C; i++)
            r->host.cos[rope][i] = r->host.sin[rope][i] = 0.0f;
    }
    for (int64_t i = r->spans.tokens; i < r->n; i++)
        r->host.ids[i] = -1;
    for (int64_t i = r->predicted; i < r->m; i++)
        r->host.index[i] = r->host.label[i] = -1;
}

/* Predicted tokens are rounded up to eighths of the room on a device: how many there are varies
 * from row to row more than anything else, and the head is a small part of a pass. */
static int64_t bucket_of_predicted(const gf_backend *be, const gf_row *r)
{
    if (r->predicted == 0 || !be->cuda)
        return r->predicted;
    const int64_t step = gf_row_bucket(be, (r->room + 7) / 8, r->room);
    const int64_t up = (r->predicted + step - 1) / step * step;
    return up < r->room ? up : r->room;
}

gf_status gf_row_ready(gf_model *m)
{
    gf_row *r = &m->row;
    gf_backend *be = m->be;
    r->n = r->spans.tokens;
    r->m = r->predicted;
    if (m->opt.use != GF_USE_GENERATE) { /* a graph for each bucket, not for each length */
        r->n = gf_row_bucket(be, r->n, r->room);
        r->m = bucket_of_predicted(be, r);
    }
    if (be->dry) /* the shape is all that counts */
        return GF_OK;
    pad(r, m->cfg);
    TRY(gf_upload(be, gf_rows(r->ids, 0, r->n), r->host.ids));
    if (gf_is(r->learned)) {
        learn(r, m->cfg->pad);
        TRY(gf_upload(be, gf_rows(r->learned, 0, r->n), r->host.learned));
    }
    for (int i = 0; i < m->cfg->ropes; i++) {
        TRY(gf_upload(be, gf_rows(r->cos[i], 0, r->n), r->host.cos[i]));
        TRY(gf_upload(be, gf_rows(r->sin[i], 0, r->n), r->host.sin[i]));
    }
    TRY(gf_upload(be, gf_rows(r->index, 0, r->m), r->host.index));
    TRY(gf_upload(be, gf_rows(r->label, 0, r->m), r->host.label));
    return gf_row_bind(be, &r->spans, r->n, m->opt.dropout.epoch);
}

gf_status gf_model_feed(gf_model *m, const int32_t *ids, int64_t count, int64_t length)
{
    const int64_t seen = m->cache.used;
    gf_row_start(m);
    add_span(m, ids, count, seen, length, 0);
    gf_row_ask(m);
    TRY(gf_model_run(m, false));
    m->cache.used += count;
    TRY(gf_download(m->be, m->host.logits, m->logits));
    return gf_wait(m->be);
}
