/* bnb.h - weights that bitsandbytes has quantised (FORMATS 8.1 to 8.3): NF4 and FP4 in blocks, the
 * blocks' scales themselves quantised or not, and LLM.int8 with a scale for each row. */
#ifndef GRAFT_HOST_FORMAT_BNB_H
#define GRAFT_HOST_FORMAT_BNB_H

#include "format/source.h"

typedef enum { GF_BNB_NF4, GF_BNB_FP4, GF_BNB_INT8 } gf_bnb_kind;

/* What an entry's numbers are made of: entries as they stand in the file. */
typedef struct gf_bnb {
    gf_bnb_kind kind;
    gf_entry codes;  /* two in a byte, the first one high; INT8: one in a byte, signed */
    gf_entry absmax; /* f32 a block (INT8: a row), or the codes of these */
    int64_t block;   /* elements; INT8: a row's */
    bool nested;     /* absmax is map[code] * inner[block of codes] + offset */
    gf_entry inner;
    int64_t inner_block;
    float offset;
    float map[256];
} gf_bnb;

/* Puts each quantised weight and its companions (X.weight.absmax, .quant_map, .quant_state.…;
 * X.SCB) together into one entry of its true shape, whose dtype is what bitsandbytes dequantises it
 * to and whose dtype_text is "nf4", "fp4" or "int8": gf_source_read gives those numbers, bit for
 * bit. *folded: how many. A companion that is missing or does not fit: GF_EINPUT. Once, after
 * gf_source_index. */
gf_status gf_bnb_fold(gf_source *s, int *folded, gf_err *err);

/* gf_source_read of such an entry; whole elements. */
gf_status gf_bnb_read(const gf_source *s, const gf_entry *e, uint64_t at, void *out, size_t size,
                      gf_err *err);

#endif
