/* blas.c - products by cuBLASLt. Contract: cuda.h.
 *
 * The library thinks in columns: our row-major [m,n] is its [n,m]. So it is asked for
 * d^T = op(b)^T a^T: its A is our b, its B our a, its m our n. Its bias runs along its rows, our
 * columns.
 *
 * Bits: an algorithm is chosen for GF_PRODUCT_ROWS rows, whatever m is and however long the run's
 * rows are, among those that take k in one run (no split, no reduction), and pinned. Its order of
 * summation over k then belongs to the tile, not to m. What was chosen is noted for run.json. */
#include "blas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "library.h"

#define CANDIDATES 16 /* algorithms to ask for; the first is nearly always fine */
#define PROMISE 16    /* bytes of alignment: what TMA and 128-bit accesses want */

/* A product but for its pointers and m. */
typedef struct {
    int64_t n, k;
    int64_t ld[4]; /* elements, of the library's A, B, C, D */
    int32_t type, out;
    int32_t transposed, bias, added; /* b is [n,k]; there is a bias, a c */
    int32_t align[4];                /* bytes */
    int32_t unused;
} blas_key;

typedef struct {
    blas_key key;
    cublasLtMatmulAlgo_t algo;
} choice;

struct gf_blas {
    gf_blas_calls call;
    cublasLtHandle_t handle;
    void *workspace;
    size_t workspace_bytes;
    choice *chosen;
    size_t count, room;
    gf_buf note;
};

/* ---- the library ------------------------------------------------------------------------ */

gf_status gf_blas_load(gf_blas_calls *out, gf_err *err)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "/usr/local/cuda/lib64/libcublasLt.so.13",
                                        "/usr/local/cuda/lib64/libcublasLt.so.12", NULL};
    const gf_symbol symbols[] = {
#define X(field, symbol) {#symbol, &out->field},
        GF_BLAS_CALLS(X)
#undef X
    };
    void *library;
    return gf_library_open(&library, names, symbols, sizeof symbols / sizeof *symbols,
                           "install cuBLAS 12 or 13 (of the CUDA toolkit, or pip's nvidia-cublas) "
                           "and put its folder into LD_LIBRARY_PATH",
                           err);
}

/* What NVIDIA advises for Hopper and later (cuBLAS, 2.1.16); half as much does before. The same for
 * every device that is not known yet. */
static size_t workspace_bytes(const gf_cuda *c)
{
    return (size_t)(c->absent || c->about.major >= 9 ? 32 : 8) << 20;
}

static gf_status fail(gf_backend *be, cublasStatus_t status, const char *call, const char *what)
{
    gf_cuda *c = be->cuda;
    (void)gf_fail(&c->fault, GF_EDEVICE, "device %d (%s): %s: %s: %s", c->number, c->about.name,
                  what, call, c->blas->call.status_name(status));
    return gf_fail(&be->err, GF_EDEVICE, "%s", c->fault.text);
}

#define LT(field, ...)                                                                             \
    do {                                                                                           \
        const cublasStatus_t status_ = be->cuda->blas->call.field(__VA_ARGS__);                    \
        if (status_ != CUBLAS_STATUS_SUCCESS)                                                      \
            return fail(be, status_, #field, "cuBLASLt");                                          \
    } while (0)

gf_status gf_blas_open(gf_backend *be, gf_err *err)
{
    gf_cuda *c = be->cuda;
    gf_blas *b = c->blas = gf_alloc(1, sizeof *c->blas, err);
    if (!b)
        return GF_ENOMEM;
    TRY(gf_blas_load(&b->call, err));
    const cublasStatus_t status = b->call.create(&b->handle);
    if (status != CUBLAS_STATUS_SUCCESS)
        return gf_fail(err, GF_EDEVICE, "cuBLASLt does not start on device %d (%s): %s", c->number,
                       c->about.name, b->call.status_name(status));
    b->workspace_bytes = workspace_bytes(c);
    TRY(gf_cuda_alloc(be, &b->workspace, b->workspace_bytes, err));
    const size_t version = b->call.version();
    return gf_buf_printf(&b->note, err, "cublasLt %zu.%zu.%zu", version / 10000,
                         version / 100 % 100, version % 100);
}

void gf_blas_close(gf_backend *be)
{
    gf_blas *b = be->cuda->blas;
    if (!b)
        return;
    if (b->handle)
        (void)b->call.destroy(b->handle);
    gf_cuda_free(be, b->workspace);
    gf_buf_free(&b->note);
    free(b->chosen);
    free(b);
    be->cuda->blas = NULL;
}

size_t gf_cuda_own_bytes(const gf_backend *be)
{
    return GF_CUDA_SCRATCH + workspace_bytes(be->cuda);
}

const char *gf_backend_note(const gf_backend *be)
{
    return be->cuda && be->cuda->blas && be->cuda->blas->note.data ? be->cuda->blas->note.data : "";
}

/* ---- describing a product to the library ------------------------------------------------ */

typedef struct {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t layout[4]; /* A, B, C, D */
} described;

static cudaDataType_t type_of(gf_dtype t)
{
    return t == GF_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

static void forget(gf_backend *be, described *d)
{
    const gf_blas_calls *call = &be->cuda->blas->call;
    for (int i = 0; i < 4; i++)
        if (d->layout[i])
            (void)call->layout_destroy(d->layout[i]);
    if (d->desc)
        (void)call->desc_destroy(d->desc);
}

/* For m rows. */
static gf_status describe(gf_backend *be, described *d, const blas_key *key, int64_t m,
                          const void *bias)
{
    const cublasOperation_t yes = CUBLAS_OP_T, no = CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue =
        key->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    const uint64_t n = (uint64_t)key->n, k = (uint64_t)key->k;
    const uint64_t size[4][2] = {{key->transposed ? k : n, key->transposed ? n : k},
                                 {k, (uint64_t)m},
                                 {n, (uint64_t)m},
                                 {n, (uint64_t)m}};
    LT(desc_create, &d->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    LT(desc_set, d->desc, CUBLASLT_MATMUL_DESC_TRANSA, key->transposed ? &yes : &no, sizeof yes);
    LT(desc_set, d->desc, CUBLASLT_MATMUL_DESC_TRANSB, &no, sizeof no);
    LT(desc_set, d->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (key->bias)
        LT(desc_set, d->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    for (int i = 0; i < 4; i++)
        LT(layout_create, &d->layout[i], type_of(i < 2 ? (gf_dtype)key->type : (gf_dtype)key->out),
           size[i][0], size[i][1], key->ld[i]);
    return GF_OK;
}

/* ---- choosing --------------------------------------------------------------------------- */

static uint32_t config(const gf_blas_calls *call, const cublasLtMatmulAlgo_t *algo,
                       cublasLtMatmulAlgoConfigAttributes_t what)
{
    uint32_t value = UINT32_MAX; /* what an algorithm has not is not what is looked for */
    if (call->algo_get(algo, what, &value, sizeof value, NULL) != CUBLAS_STATUS_SUCCESS)
        return UINT32_MAX;
    return value;
}

static gf_status wish(gf_backend *be, cublasLtMatmulPreference_t p, const blas_key *key)
{
    const uint64_t workspace = be->cuda->blas->workspace_bytes;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    LT(wish_set, p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    LT(wish_set, p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    for (int i = 0; i < 4; i++) {
        const uint32_t align = (uint32_t)key->align[i];
        LT(wish_set, p,
           (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
           &align, sizeof align);
    }
    return GF_OK;
}

/* Takes k in one run, and works for a single row too: then for every m between. */
static bool good(const gf_blas *b, const cublasLtMatmulHeuristicResult_t *r, const described *one)
{
    cublasLtMatmulHeuristicResult_t found;
    return r->state == CUBLAS_STATUS_SUCCESS && r->workspaceSize <= b->workspace_bytes &&
           config(&b->call, &r->algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
           config(&b->call, &r->algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) ==
               CUBLASLT_REDUCTION_SCHEME_NONE &&
           b->call.algo_check(b->handle, one->desc, one->layout[0], one->layout[1], one->layout[2],
                              one->layout[3], &r->algo, &found) == CUBLAS_STATUS_SUCCESS &&
           found.workspaceSize <= b->workspace_bytes;
}

static gf_status note(gf_blas *b, const choice *c, gf_err *err)
{
    const blas_key *k = &c->key;
    return gf_buf_printf(
        &b->note, err, "; %s %lldx%lld%s%s%s to %s: algorithm %u tile %u stages %u",
        gf_dtype_name((gf_dtype)k->type), (long long)k->n, (long long)k->k,
        k->transposed ? " transposed" : "", k->bias ? " +bias" : "", k->added ? " +c" : "",
        gf_dtype_name((gf_dtype)k->out), config(&b->call, &c->algo, CUBLASLT_ALGO_CONFIG_ID),
        config(&b->call, &c->algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
        config(&b->call, &c->algo, CUBLASLT_ALGO_CONFIG_STAGES_ID));
}

static gf_status ask(gf_backend *be, const blas_key *key, const described *most,
                     const described *one, cublasLtMatmulPreference_t p, choice *out)
{
    gf_blas *b = be->cuda->blas;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count = 0;
    TRY(wish(be, p, key));
    LT(heuristic, b->handle, most->desc, most->layout[0], most->layout[1], most->layout[2],
       most->layout[3], p, CANDIDATES, found, &count);
    for (int i = 0; i < count; i++)
        if (good(b, &found[i], one)) {
            *out = (choice){.key = *key, .algo = found[i].algo};
            return note(b, out, &be->err);
        }
    return gf_fail(&be->err, GF_EDEVICE,
                   "cuBLASLt has no algorithm for %lld x %lld that sums over k in one run and "
                   "takes any number of rows (%d looked at)",
                   (long long)key->n, (long long)key->k, count);
}

static gf_status choose(gf_backend *be, const blas_key *key, const void *bias, choice *out)
{
    described most = {0}, one = {0};
    cublasLtMatmulPreference_t p = NULL;
    gf_status st = describe(be, &most, key, GF_PRODUCT_ROWS, bias);
    if (st == GF_OK)
        st = describe(be, &one, key, 1, bias);
    if (st == GF_OK) {
        const cublasStatus_t status = be->cuda->blas->call.wish_create(&p);
        st = status == CUBLAS_STATUS_SUCCESS ? ask(be, key, &most, &one, p, out)
                                             : fail(be, status, "preference", "cuBLASLt");
    }
    if (p)
        (void)be->cuda->blas->call.wish_destroy(p);
    forget(be, &one);
    forget(be, &most);
    return st;
}

static gf_status find(gf_backend *be, const blas_key *key, const void *bias, const choice **out)
{
    gf_blas *b = be->cuda->blas;
    for (size_t i = 0; i < b->count; i++)
        if (memcmp(&b->chosen[i].key, key, sizeof *key) == 0) {
            *out = &b->chosen[i];
            return GF_OK;
        }
    if (b->count == b->room) {
        const size_t room = b->room ? 2 * b->room : 16;
        choice *more = gf_realloc(b->chosen, room, sizeof *more, &be->err);
        if (!more)
            return GF_ENOMEM;
        b->chosen = more;
        b->room = room;
    }
    TRY(choose(be, key, bias, &b->chosen[b->count]));
    *out = &b->chosen[b->count++];
    return GF_OK;
}

/* ---- products --------------------------------------------------------------------------- */

/* The alignment of a matrix's rows, at most PROMISE: the same for every row, so that which rows of
 * a larger matrix are multiplied changes no choice. */
static int32_t alignment(gf_tensor t)
{
    const uint64_t bits =
        (uint64_t)(uintptr_t)t.data | (uint64_t)gf_row_bytes(t.dtype, t.stride) | PROMISE;
    return (int32_t)(bits & (~bits + 1));
}

static gf_status refuse(gf_backend *be, const char *what)
{
    return gf_fail(&be->err, GF_ESHAPE, "product: %s", what);
}

static gf_status check(gf_backend *be, const gf_product *p)
{
    const int64_t m = p->d.dim[0], n = p->d.dim[1], k = p->a.dim[1];
    if (p->d.rank != 2 || p->a.rank != 2 || p->b.rank != 2 || p->a.dim[0] != m ||
        p->b.dim[0] != (p->transposed ? n : k) || p->b.dim[1] != (p->transposed ? k : n))
        return refuse(be, "the shapes of d, a and b do not fit");
    if (k == 0 && m > 0 && n > 0)
        return refuse(be, "k is 0");
    if ((p->a.dtype != GF_F32 && p->a.dtype != GF_BF16) || p->b.dtype != p->a.dtype ||
        (p->d.dtype != GF_F32 && p->d.dtype != p->a.dtype))
        return refuse(be, "a and b are f32 or bf16, d is f32 or like them");
    if (gf_is(p->c) &&
        (p->c.rank != 2 || p->c.dim[0] != m || p->c.dim[1] != n || p->c.dtype != p->d.dtype))
        return refuse(be, "c is not like d");
    if (gf_is(p->bias) && (p->bias.rank != 1 || p->bias.dim[0] != n || p->bias.dtype != p->d.dtype))
        return refuse(be, "bias is not one value of d's type a column");
    return GF_OK;
}

static blas_key key_of(const gf_product *p)
{
    const gf_tensor c = gf_is(p->c) ? p->c : p->d;
    const gf_tensor matrix[4] = {p->b, p->a, c, p->d};
    blas_key key; /* compared as bytes */
    memset(&key, 0, sizeof key);
    key.n = p->d.dim[1];
    key.k = p->a.dim[1];
    key.type = (int32_t)p->a.dtype;
    key.out = (int32_t)p->d.dtype;
    key.transposed = p->transposed;
    key.bias = gf_is(p->bias);
    key.added = gf_is(p->c);
    for (int i = 0; i < 4; i++) {
        key.ld[i] = matrix[i].stride;
        key.align[i] = alignment(matrix[i]);
    }
    return key;
}

static gf_status multiply(gf_backend *be, const gf_product *p, const blas_key *key,
                          const described *d, const choice *chosen)
{
    gf_blas *b = be->cuda->blas;
    const float one = 1.0f, beta = key->added ? 1.0f : 0.0f;
    char what[96];
    const cublasStatus_t status = b->call.matmul(
        b->handle, d->desc, &one, p->b.data, d->layout[0], p->a.data, d->layout[1], &beta,
        key->added ? p->c.data : p->d.data, d->layout[2], p->d.data, d->layout[3], &chosen->algo,
        b->workspace, b->workspace_bytes, (cudaStream_t)be->cuda->stream);
    snprintf(what, sizeof what, "product [%lld,%lld] over %lld", (long long)p->d.dim[0],
             (long long)key->n, (long long)key->k);
    if (status != CUBLAS_STATUS_SUCCESS)
        return fail(be, status, "cublasLtMatmul", what);
    be->cuda->kernels.since.product = true;
    return gf_cuda_launched(be, what);
}

gf_status gf_cuda_product(gf_backend *be, const gf_product *p)
{
    const choice *chosen;
    described d = {0};
    TRY(check(be, p));
    if (gf_count(p->d) == 0)
        return GF_OK;
    be->tally.launches++;
    be->tally.products += 2 * gf_count(p->d) * p->a.dim[1];
    if (be->dry)
        return GF_OK;
    TRY(gf_cuda_ready(be));
    const blas_key key = key_of(p);
    TRY(find(be, &key, p->bias.data, &chosen));
    gf_status st = describe(be, &d, &key, p->d.dim[0], p->bias.data);
    if (st == GF_OK)
        st = multiply(be, p, &key, &d, chosen);
    forget(be, &d);
    return st;
}
