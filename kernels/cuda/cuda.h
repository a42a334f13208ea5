/* cuda.h - what the C side of the CUDA backend shares: an open device, how kernels are launched.
 *
 * Kernels are looked up by module (the .cu file's name) and name; a module's fatbin is part of the
 * program and is loaded when its first kernel is launched. Nothing here waits for the device but
 * gf_wait (device.c). */
#ifndef GRAFT_KERNELS_CUDA_CUDA_H
#define GRAFT_KERNELS_CUDA_CUDA_H

#include "graft/ops.h"
#include "row.h"

typedef struct gf_cuda gf_cuda;

/* The twins: launch_rows.c, launch_attention.c, launch_linear.c. */
#define X(op) gf_##op##_fn gf_cuda_##op;
GF_OPS(X)
#undef X
extern const gf_ops gf_cuda_ops; /* table.c */

typedef struct {
    unsigned x, y, z;
} gf_dim;

/* Enqueues a kernel. params: addresses of its arguments, as cuLaunchKernel takes them. grid.x == 0
 * (or y, z): nothing to do, not counted. Dynamic shared memory above 48 KiB is asked for by itself.
 * In dry runs it counts a launch and returns. GF_EDEVICE names the kernel. */
gf_status gf_cuda_launch(gf_backend *be, const char *module, const char *kernel, gf_dim grid,
                         gf_dim block, size_t shared, void **params);
/* GF_LAUNCH(be, "rope", "rope_f32", grid, block, shared, &x, &n, ...) */
#define GF_LAUNCH(be, module, kernel, grid, block, shared, ...)                                    \
    gf_cuda_launch(be, module, kernel, grid, block, shared, (void *[]){__VA_ARGS__})

/* Sets bytes of device memory to zero, in stream order. Counts as a launch. */
gf_status gf_cuda_clear(gf_backend *be, void *to, size_t bytes);
/* Device to host: `to` is filled by gf_wait. For results that are no tensors. */
gf_status gf_cuda_fetch(gf_backend *be, void *to, const void *from, size_t bytes);
/* Device memory that the backend owns for the twins' own partial sums, at least `bytes`, at a fixed
 * address (GF_CUDA_SCRATCH; part of gf_backend_scratch). One op's use ends with the op. */
#define GF_CUDA_SCRATCH ((size_t)8 << 20)
void *gf_cuda_scratch(gf_backend *be);
/* The largest dynamic shared memory a block may have, and the number of multiprocessors. A dry
 * device answers as an H100. */
int64_t gf_cuda_shared_limit(const gf_backend *be);
int gf_cuda_multiprocessors(const gf_backend *be);

/* What a captured launch's grid must cover: the row's numbers rounded up, so that rows of one shape
 * share a graph (row.c). In a dry run: counted from row->span. */
typedef struct {
    unsigned tiles, chunks;
} gf_row_grid;
gf_row_grid gf_cuda_row_grid(const gf_backend *be, const gf_spans *row, int64_t n);

/* What the fronts of graft/ops.h (kernels/memory.c, kernels/backend.c) call where be->cuda is set,
 * with their contracts. Nothing here may be called between gf_cuda_capture and gf_cuda_capture_end
 * but launches, products and gf_cuda_clear. */
gf_status gf_cuda_alloc(gf_backend *be, void **out, size_t bytes, gf_err *err);
void gf_cuda_free(gf_backend *be, void *memory);
gf_status gf_cuda_upload(gf_backend *be, gf_tensor t, const void *from);
gf_status gf_cuda_download(gf_backend *be, void *to, gf_tensor t);
gf_status gf_cuda_wait(gf_backend *be);
size_t gf_cuda_row_work_bytes(const gf_backend *be, int64_t tokens);
gf_status gf_cuda_row_bind(gf_backend *be, gf_spans *row, int64_t n, uint32_t epoch);
uint64_t gf_cuda_row_shape(const gf_backend *be, const gf_spans *row, int64_t n);
int64_t gf_cuda_row_bucket(const gf_backend *be, int64_t tokens, int64_t capacity);
gf_status gf_cuda_replay(gf_backend *be, uint64_t key, bool *done);
gf_status gf_cuda_capture(gf_backend *be, uint64_t key);
gf_status gf_cuda_capture_end(gf_backend *be, bool failed);
void gf_cuda_close(gf_backend *be);
size_t gf_cuda_own_bytes(const gf_backend *be);  /* of device memory */
size_t gf_cuda_host_bytes(const gf_backend *be); /* of page-locked memory */

/* The header that a row's lists have (row.h). Its offsets depend on row->work's size only, so that
 * launches may take addresses from them, for instance of the peaks. */
gf_row_header gf_cuda_row_header(const gf_backend *be, const gf_spans *row, int64_t n,
                                 uint32_t epoch);

/* Bytes of the partial sums of P that group_linear_bwd writes and reads where it makes P and dB in
 * one pass over dy; 0: it reads dy for each of the two. */
int64_t gf_cuda_linear_partials(gf_tensor dx, gf_tensor dy, gf_tensor s, const gf_group *g);

/* One product of row-major matrices in f32 or bf16 with f32 sums, by cuBLASLt (blas.c):
 *   d [m,n] = a [m,k] op(b) + bias[n] + c [m,n];  transposed: b is [n,k], else [k,n]
 * a and b have one dtype; d, c f32 or that dtype (c has d's). bias: d's dtype. c.data may be
 * d.data. rank 0: none. The algorithm is chosen once for each (shape but m, dtypes, strides):
 * heuristics for GF_PRODUCT_ROWS rows, no split of k, so that a row's bits depend neither on m nor
 * on how long the rows of a run may get: that differs between ranks, and --row-tokens changes it.
 */
#define GF_PRODUCT_ROWS 4096 /* enough to fill every GPU with the largest tiles */
typedef struct {
    gf_tensor d, a, b, c, bias;
    bool transposed;
} gf_product;
gf_status gf_cuda_product(gf_backend *be, const gf_product *p);

#endif
