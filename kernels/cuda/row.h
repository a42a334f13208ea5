/* row.h - the lists of a row that attention, the adapters' gradients and dropout read on a device.
 * Plain structs, shared by C and CUDA code. gf_row_bind (row.c) makes them on the host from the
 * row's spans, and one upload puts them into gf_spans.work.
 *
 * Grids are fixed when a graph is captured: a kernel is launched for as many tiles or chunks as the
 * row's shape rounds up to, and those past the row's own number return at once. */
#ifndef GRAFT_KERNELS_CUDA_ROW_H
#define GRAFT_KERNELS_CUDA_ROW_H

#include <stdint.h>

/* Tokens of an attention tile, of queries and of keys alike: tiles start at each span's start. */
#define GF_TILE 128

/* A span as kernels see it; gf_span (graft/ops.h) in 32 bits. */
typedef struct {
    int32_t start, len;       /* queries */
    int32_t kv_start, kv_len; /* keys; the queries are the last `len` of them */
} gf_row_span;

/* At most GF_TILE tokens of one span, or of the filler behind all spans. */
typedef struct {
    int32_t span;  /* index into spans; -1: filler, whose outputs are zero */
    int32_t first; /* first token: row of q, o, ... */
    int32_t count; /* tokens */
    int32_t at;    /* its position in the span's queries (keys, for key tiles): first - start */
} gf_row_tile;

/* At most GF_CHUNK tokens of one example: a gradient's unit of rounding. */
typedef struct {
    int32_t first, count;
} gf_row_chunk;

/* What a token's dropout is keyed by. */
typedef struct {
    uint64_t example;
    int32_t position; /* in its example; -1: filler */
    int32_t chunk;    /* index into chunks; -1: filler */
} gf_row_token;

/* The start of gf_spans.work. Offsets are bytes from here, multiples of 256, the same for every row
 * of a layout. */
typedef struct {
    int32_t tokens; /* that count */
    int32_t rows;   /* N */
    int32_t tiles;  /* of queries, filler's included; of keys: the same number */
    int32_t chunks;
    uint32_t epoch; /* keys dropout */
    int32_t spans;
    uint32_t span_at;   /* gf_row_span[spans] */
    uint32_t query_at;  /* gf_row_tile[tiles], those with most keys first */
    uint32_t key_at;    /* gf_row_tile[tiles], those with most queries behind them first */
    uint32_t chunk_at;  /* gf_row_chunk[chunks] */
    uint32_t token_at;  /* gf_row_token[rows] */
    uint32_t peak_at;   /* uint32_t[2 * 3 * capacity of chunks]: bits of max |g| of each chunk of
                         * dA and dB of a group's layers; zero whenever no gradients are made */
    int32_t chunk_room; /* capacity of chunks: the stride of peak */
    int32_t arrived;    /* blocks of the gradients that are done; the last one zeroes it and peak */
} gf_row_header;

#endif
