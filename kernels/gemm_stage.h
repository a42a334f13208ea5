/* gemm_stage.h - the order in which a product is computed: blocks of k, and in each of them stages,
 * which are some strips of columns. */
#ifndef GRAFT_KERNELS_GEMM_STAGE_H
#define GRAFT_KERNELS_GEMM_STAGE_H

#include "gemm.h"

typedef struct {
    const gf_gemm *g;
    gf_pool *pool;
    gf_word word;
    bool park;                    /* C cannot hold the sums between blocks */
    bool stream;                  /* C is too large for the caches, and written once */
    int64_t words[GF_GEMM_PARTS]; /* of each part */
    int64_t group_strip[4];       /* first strip of each group, then their number */
    int64_t group_column[4];      /* first column of each group */
    int64_t chunk_rows;           /* rows that the scratch holds */
    int rows_split, strips_split; /* the grid of threads */
} gf_gemm_plan;

/* A range of words of the concatenated parts. */
typedef struct {
    int first_part, parts; /* of the stretch that it lies in */
    int64_t begin, end;    /* words, counted from the stretch's start */
    bool first, last;      /* of all */
    int masked_segment;    /* of group 0, whose product this block is; or -1 */
} gf_gemm_block;

/* What is packed and multiplied at a time: some strips of a group, for one block of k. */
typedef struct {
    gf_gemm_block k;
    int group;
    int64_t n0, n; /* columns of the group; none: behind the last stage */
} gf_gemm_stage;

#ifdef GF_ISA
/* The block that follows *b (all zero: the first). False behind the last one. */
bool GF_CPU(next_block)(const gf_gemm_plan *p, gf_gemm_block *b);

/* The words of `part` that lie in block b: [*begin, *end) of the block; *k0 and *k in elements.
 * False: none. */
bool GF_CPU(part_in_block)(const gf_gemm_plan *p, const gf_gemm_block *b, int part, int64_t *begin,
                           int64_t *end, int64_t *k0, int64_t *k);

/* The stage that follows *s (all zero: the first) in the strips [first, first + count). True if it
 * begins a block. */
bool GF_CPU(next_stage)(const gf_gemm_plan *p, int64_t first, int64_t count, gf_gemm_stage *s);
#endif

#endif
