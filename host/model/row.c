/* row.c - filling a row: whole examples end to end, positions from 0 in each (DESIGN 2.1). */
#include "model/model.h"

#include <assert.h>
#include <string.h>

void gf_row_start(gf_model *m)
{
    m->row.spans = (gf_spans){.span = m->row.span};
    m->row.predicted = 0;
}

/* One span of `count` tokens that stand at positions from `first` of an example of `length`. */
static void add_span(gf_model *m, const int32_t *ids, int64_t count, int64_t first, int64_t length,
                     uint64_t example)
{
    gf_row *r = &m->row;
    const int64_t start = r->spans.tokens, C = m->cfg->rope.rotary / 2;
    assert(start + count <= r->capacity && r->spans.count < r->max_spans);
    memcpy((int32_t *)r->ids.data + start, ids, (size_t)count * sizeof *ids);
    gf_rope_table((float *)r->cos.data + start * C, (float *)r->sin.data + start * C, &m->cfg->rope,
                  first, count, length);
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
    int32_t *index = r->index.data, *label = r->label.data;
    const int64_t start = r->spans.tokens;
    add_span(m, ids, length, 0, length, example);
    for (int64_t t = 1; labels && t < length; t++)
        if (labels[t] != -100) {
            index[r->predicted] = (int32_t)(start + t - 1);
            label[r->predicted++] = labels[t];
        }
}

gf_status gf_model_feed(gf_model *m, const int32_t *ids, int64_t count, int64_t length)
{
    const int64_t seen = m->cache.used;
    gf_row_start(m);
    add_span(m, ids, count, seen, length, 0);
    ((int32_t *)m->row.index.data)[0] = (int32_t)(count - 1);
    ((int32_t *)m->row.label.data)[0] = 0; /* nobody asks for this loss */
    m->row.predicted = 1;
    TRY(gf_model_run(m, false));
    m->cache.used += count;
    return GF_OK;
}
