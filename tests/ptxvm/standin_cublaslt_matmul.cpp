// standin_cublaslt_matmul.cpp - choosing algorithms and enqueueing products, with the checks that
// the real library makes, and those that it leaves to the program: overlapping operands, operands
// that were never written, a workspace that is someone else's memory.
#include "standin_cublaslt.h"
#include "standin_enqueue.h"

#include <algorithm>
#include <cstring>
#include <vector>

using namespace standin;

namespace
{

const uint32_t ALGORITHM_MARK = 0x6c74a190;
const size_t WORKSPACE = 64 << 10;  // what algorithm 2 overwrites
const size_t SLICED_MOST = 1 << 16; // outputs up to which k is cut, if that is allowed

Type type_of(cudaDataType_t type, const char *operand)
{
    switch (type) {
    case CUDA_R_32F:
        return Type::f32;
    case CUDA_R_16BF:
        return Type::bf16;
    case CUDA_R_16F:
        return Type::f16;
    case CUDA_R_8F_E4M3:
        return Type::e4m3;
    case CUDA_R_8F_E5M2:
        return Type::e5m2;
    default:
        refuse(CUBLAS_STATUS_NOT_SUPPORTED, "%s has data type %d", operand, static_cast<int>(type));
    }
}

// A product's shape, types and layouts, checked against each other.
struct Shape {
    const Description *description;
    const Layout *a, *b, *c, *d;
    Type type_a, type_b, out;
    size_t m, n, k;

    Shape(cublasLtMatmulDesc_t description_, cublasLtMatrixLayout_t a_, cublasLtMatrixLayout_t b_,
          cublasLtMatrixLayout_t c_, cublasLtMatrixLayout_t d_)
    {
        description = &object<Description>(description_, Kind::description, "description");
        a = &object<Layout>(a_, Kind::layout, "layout of A");
        b = &object<Layout>(b_, Kind::layout, "layout of B");
        c = &object<Layout>(c_, Kind::layout, "layout of C");
        d = &object<Layout>(d_, Kind::layout, "layout of D");
        type_a = type_of(a->type, "A");
        type_b = type_of(b->type, "B");
        out = type_of(d->type, "D");
        m = d->rows;
        n = d->columns;
        bool across_a = description->a == CUBLAS_OP_T, across_b = description->b == CUBLAS_OP_T;
        k = across_a ? a->rows : a->columns;
        if ((across_a ? a->columns : a->rows) != m || (across_b ? b->rows : b->columns) != n ||
            (across_b ? b->columns : b->rows) != k || c->rows != m || c->columns != n)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "the shapes do not fit: D %zu x %zu, k %zu", m, n,
                   k);
        check_types();
    }

    bool fp8() const
    {
        return bytes_of(type_a) == 1;
    }

  private:
    void check_types() const
    {
        bool eights = fp8() && bytes_of(type_b) == 1;
        bool outs = bytes_of(out) > 1 && (out == Type::f32 || out == type_a || eights);
        if ((type_a != type_b && !eights) || (type_a == Type::e5m2 && type_b == Type::e5m2) ||
            !outs || c->type != d->type)
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "data types %d, %d, %d, %d of A, B, C, D",
                   static_cast<int>(a->type), static_cast<int>(b->type), static_cast<int>(c->type),
                   static_cast<int>(d->type));
        if (eights && (description->a != CUBLAS_OP_T || description->b != CUBLAS_OP_N || m % 16 ||
                       n % 16 || k % 16))
            refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                   "8-bit products need op(A) = T, op(B) = N and sizes that 16 divides");
        if (description->bias_type != -1 && description->bias_type != d->type)
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "a bias of data type %d for D of %d",
                   description->bias_type, static_cast<int>(d->type));
    }
};

Algorithm unpack(const cublasLtMatmulAlgo_t &algorithm)
{
    Algorithm a;
    memcpy(&a, &algorithm, sizeof a);
    return a;
}

// The alignment of a matrix that its leading dimension allows: 16 bytes at most.
bool ld_allows(const Layout &l, Type type, uint32_t alignment)
{
    size_t bytes = static_cast<size_t>(l.ld) * bytes_of(type);
    return bytes % std::min<size_t>(alignment, 16) == 0;
}

// ---- choosing -------------------------------------------------------------------------------
Algorithm candidate(const Shape &s, const Preference &p, unsigned id)
{
    Algorithm a = {};
    a.mark = ALGORITHM_MARK;
    a.id = static_cast<uint16_t>(id);
    a.slices = 1;
    for (int i = 0; i < 4; i++)
        a.alignment[i] = static_cast<uint16_t>(std::min<uint32_t>(p.alignment[i], 1 << 15));
    a.a = static_cast<uint8_t>(s.type_a);
    a.b = static_cast<uint8_t>(s.type_b);
    a.out = static_cast<uint8_t>(s.out);
    a.trans_a = s.description->a == CUBLAS_OP_T;
    a.trans_b = s.description->b == CUBLAS_OP_T;
    a.epilogue = static_cast<uint8_t>(s.description->epilogue);
    return a;
}

// The candidates, best first. Like the real library it prefers to cut k where D is small, unless
// that is excluded: whose sums then depend on D's size.
std::vector<Algorithm> candidates(const Shape &s, const Preference &p)
{
    std::vector<Algorithm> all;
    const Layout *layouts[] = {s.a, s.b, s.c, s.d};
    const Type types[] = {s.type_a, s.type_b, s.out, s.out};
    for (int i = 0; i < 4; i++)
        if (p.alignment[i] < bytes_of(types[i]) || (s.fp8() && p.alignment[i] < 16) ||
            !ld_allows(*layouts[i], types[i], p.alignment[i]))
            return all;
    uint32_t cuts = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    if (p.reductions & cuts && s.m * s.n <= SLICED_MOST && s.k >= 64) {
        all.push_back(candidate(s, p, 3));
        all.back().slices = s.m * s.n < SLICED_MOST / 16 ? 4 : 2;
        all.back().reduction = cuts;
    }
    if (p.workspace >= WORKSPACE) {
        all.push_back(candidate(s, p, 2));
        all.back().workspace = WORKSPACE;
    }
    all.push_back(candidate(s, p, 1));
    return all;
}

} // namespace

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *count)
{
    return blas([&] {
        object<Handle>(handle, Kind::handle, "handle");
        auto &p = object<Preference>(preference, Kind::preference, "preference");
        if (wanted < 1)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "%d algorithms wanted", wanted);
        *count = 0;
        for (const Algorithm &x : candidates(Shape(description, a, b, c, d), p)) {
            if (*count == wanted)
                break;
            cublasLtMatmulHeuristicResult_t &r = results[(*count)++];
            memset(&r, 0, sizeof r);
            memcpy(&r.algo, &x, sizeof x);
            r.workspaceSize = x.workspace;
            r.state = CUBLAS_STATUS_SUCCESS;
            r.wavesCount = 1.0f;
        }
        if (*count == 0)
            refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                   "no algorithm for these leading dimensions and alignments");
    });
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t size, size_t *written)
{
    return blas([&] {
        Algorithm a = unpack(*algorithm);
        uint32_t answer;
        if (a.mark != ALGORITHM_MARK)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "not an algorithm");
        switch (attribute) {
        case CUBLASLT_ALGO_CONFIG_ID:
            answer = a.id;
            break;
        case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
            answer = a.slices;
            break;
        case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
            answer = a.reduction;
            break;
        case CUBLASLT_ALGO_CONFIG_TILE_ID: // one tile, one way to load it
        case CUBLASLT_ALGO_CONFIG_STAGES_ID:
            answer = 1;
            break;
        default:
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "configuration attribute %d of an algorithm",
                   static_cast<int>(attribute));
        }
        if (size < sizeof answer)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "an algorithm's attribute has 4 bytes");
        memcpy(value, &answer, sizeof answer);
        if (written)
            *written = sizeof answer;
    });
}

static void check_fit(const Algorithm &x, const Shape &s)
{
    if (x.mark != ALGORITHM_MARK)
        refuse(CUBLAS_STATUS_INVALID_VALUE, "not an algorithm");
    Algorithm now = candidate(s, Preference(), x.id);
    if (now.a != x.a || now.b != x.b || now.out != x.out || now.trans_a != x.trans_a ||
        now.trans_b != x.trans_b || now.epilogue != x.epilogue)
        refuse(CUBLAS_STATUS_INVALID_VALUE,
               "an algorithm chosen for other types, transpositions or epilogue");
    const Layout *layouts[] = {s.a, s.b, s.c, s.d};
    const Type types[] = {s.type_a, s.type_b, s.out, s.out};
    for (int i = 0; i < 4; i++)
        if (!ld_allows(*layouts[i], types[i], x.alignment[i]))
            refuse(CUBLAS_STATUS_INVALID_VALUE,
                   "%c with ld %lld is not aligned as the algorithm was promised (%d bytes)",
                   "ABCD"[i], static_cast<long long>(layouts[i]->ld), x.alignment[i]);
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    return blas([&] {
        object<Handle>(handle, Kind::handle, "handle");
        Algorithm x = unpack(*algorithm);
        check_fit(x, Shape(description, a, b, c, d));
        memset(result, 0, sizeof *result);
        result->algo = *algorithm;
        result->workspaceSize = x.workspace;
        result->wavesCount = 1.0f;
    });
}

// ---- checks of a call -----------------------------------------------------------------------
namespace
{

// Columns of bytes in memory.
struct Area {
    uintptr_t start;
    size_t width, pitch, columns;

    uintptr_t column(size_t i) const
    {
        return start + i * pitch;
    }
    uintptr_t end() const
    {
        return column(columns - 1) + width;
    }
};

Area area_of(const void *data, const Layout &l, Type type)
{
    size_t size = bytes_of(type);
    return {reinterpret_cast<uintptr_t>(data), l.rows * size, static_cast<size_t>(l.ld) * size,
            l.columns};
}

Area flat(const void *data, size_t bytes)
{
    return {reinterpret_cast<uintptr_t>(data), bytes, bytes, 1};
}

bool overlap(const Area &x, const Area &y)
{
    if (x.end() <= y.start || y.end() <= x.start)
        return false;
    for (size_t i = 0, j = 0; i < x.columns && j < y.columns;) {
        uintptr_t a = x.column(i), b = y.column(j);
        if (a < b + y.width && b < a + x.width)
            return true;
        if (a < b)
            i++;
        else
            j++;
    }
    return false;
}

struct Call {
    Algorithm algorithm;
    Product product;
    Area a, b, c, d, bias, workspace;
};

void check_pointers(const Call &call, const void *const *pointers)
{
    for (int i = 0; i < 4; i++) {
        uintptr_t address = reinterpret_cast<uintptr_t>(pointers[i]);
        if (address % call.algorithm.alignment[i])
            refuse(CUBLAS_STATUS_INVALID_VALUE,
                   "%c at %#zx is not aligned as the algorithm was promised (%d bytes)", "ABCD"[i],
                   static_cast<size_t>(address), call.algorithm.alignment[i]);
    }
}

void check_workspace(const Call &call, const void *workspace, size_t bytes)
{
    size_t needed = call.algorithm.workspace;
    if (needed == 0)
        return;
    if (!workspace || bytes < needed)
        refuse(CUBLAS_STATUS_INVALID_VALUE, "the algorithm needs a workspace of %zu bytes, not %zu",
               needed, workspace ? bytes : 0);
    if (reinterpret_cast<uintptr_t>(workspace) % 256)
        refuse(CUBLAS_STATUS_INVALID_VALUE, "a workspace that is not aligned to 256 bytes");
}

void check_overlap(const Call &call)
{
    const Area *const others[] = {&call.a, &call.b, &call.bias, &call.c};
    static const char *const names[] = {"A", "B", "the bias", "C"};
    bool same = call.product.beta != 0 && call.c.start == call.d.start &&
                call.c.pitch == call.d.pitch; // D in place of C
    for (int i = 0; i < 4; i++) {
        if (!others[i]->start || (i == 3 && same))
            continue;
        if (overlap(call.d, *others[i]))
            refuse(CUBLAS_STATUS_INVALID_VALUE, "D overlaps %s", names[i]);
        if (call.workspace.start && overlap(call.workspace, *others[i]))
            refuse(CUBLAS_STATUS_INVALID_VALUE, "the workspace overlaps %s", names[i]);
    }
    if (call.workspace.start && overlap(call.workspace, call.d))
        refuse(CUBLAS_STATUS_INVALID_VALUE, "the workspace overlaps D");
}

// Live device memory, written where it is read.
void touch(ptxvm::Device *device, const Area &area, bool write)
{
    for (size_t i = 0; area.start && i < area.columns; i++)
        ptxvm_bytes(device, reinterpret_cast<const void *>(area.column(i)), area.width, write);
}

void run(ptxvm::Device *device, const Call &call)
{
    touch(device, call.a, false);
    touch(device, call.b, false);
    touch(device, call.bias, false);
    if (call.product.beta != 0)
        touch(device, call.c, false);
    if (call.workspace.start) {
        touch(device, call.workspace, true);
        memset(reinterpret_cast<void *>(call.workspace.start), 0xff, call.workspace.width);
    }
    touch(device, call.d, true);
    multiply(call.product);
}

Operand operand(const void *data, const Layout &l, Type type, bool packed_outer)
{
    return {static_cast<const char *>(data), type, static_cast<size_t>(l.ld), packed_outer};
}

Product product(const Shape &s, const void *a, const void *b, const void *c, void *d)
{
    Product p = {};
    p.m = s.m;
    p.n = s.n;
    p.k = s.k;
    p.a = operand(a, *s.a, s.type_a, s.description->a == CUBLAS_OP_N);
    p.b = operand(b, *s.b, s.type_b, s.description->b == CUBLAS_OP_T);
    p.c = static_cast<const char *>(c);
    p.ldc = static_cast<size_t>(s.c->ld);
    p.d = static_cast<char *>(d);
    p.ldd = static_cast<size_t>(s.d->ld);
    p.out = s.out;
    if (s.description->epilogue == CUBLASLT_EPILOGUE_BIAS)
        p.bias = static_cast<const char *>(s.description->bias);
    return p;
}

} // namespace

// ---- the product ----------------------------------------------------------------------------
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t layout_a,
                              const void *b, cublasLtMatrixLayout_t layout_b, const void *beta,
                              const void *c, cublasLtMatrixLayout_t layout_c, void *d,
                              cublasLtMatrixLayout_t layout_d,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream)
{
    return blas([&] {
        object<Handle>(handle, Kind::handle, "handle");
        Shape s(description, layout_a, layout_b, layout_c, layout_d);
        if (!algorithm)
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "no algorithm was given: graft pins them");
        if (!alpha || !beta || !a || !b || !d)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "a null pointer");
        Call call = {};
        call.algorithm = unpack(*algorithm);
        call.product = product(s, a, b, c, d);
        memcpy(&call.product.alpha, alpha, sizeof(float));
        memcpy(&call.product.beta, beta, sizeof(float));
        call.product.slices = call.algorithm.slices;
        const void *pointers[] = {a, b, c, d};
        check_fit(call.algorithm, s);
        check_pointers(call, pointers);
        check_workspace(call, workspace, workspace_bytes);
        if (call.product.beta != 0 && !c)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "beta is not 0, and there is no C");
        if (s.description->epilogue == CUBLASLT_EPILOGUE_BIAS && !call.product.bias)
            refuse(CUBLAS_STATUS_INVALID_VALUE, "an epilogue with a bias, and no bias");
        call.a = area_of(a, *s.a, s.type_a);
        call.b = area_of(b, *s.b, s.type_b);
        call.d = area_of(d, *s.d, s.out);
        if (call.product.beta != 0)
            call.c = area_of(c, *s.c, s.out);
        if (call.product.bias)
            call.bias = flat(call.product.bias, s.m * bytes_of(s.out));
        if (call.algorithm.workspace)
            call.workspace = flat(workspace, call.algorithm.workspace);
        check_overlap(call);
        Work work = [call] {
            return Step([call](ptxvm::Device &device) {
                run(&device, call);
                return Progress::done;
            });
        };
        if (ptxvm_enqueue(stream, "cublasLtMatmul", &work) != CUDA_SUCCESS)
            throw BlasRefusal{CUBLAS_STATUS_EXECUTION_FAILED};
    });
}
