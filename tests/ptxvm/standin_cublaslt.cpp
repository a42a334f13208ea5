// standin_cublaslt.cpp - the objects of the stand-in for libcublasLt and their attributes.
#include "standin_cublaslt.h"
#include "standin_enqueue.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace standin
{

void refuse(cublasStatus_t status, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(stderr, "ptxvm: cublasLt: %s\n", text);
    throw BlasRefusal{status};
}

// An attribute's value of type T.
template <class T> static T value_of(const void *buffer, size_t size, const char *attribute)
{
    T value;
    if (!buffer || size != sizeof value)
        refuse(CUBLAS_STATUS_INVALID_VALUE, "%s has %zu bytes, %zu were given", attribute,
               sizeof value, size);
    memcpy(&value, buffer, sizeof value);
    return value;
}

} // namespace standin

using namespace standin;

// ---- the library ----------------------------------------------------------------------------
cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    CUcontext context = nullptr;
    if (cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = reinterpret_cast<cublasLtHandle_t>(new Handle);
    return CUBLAS_STATUS_SUCCESS;
}

// Destroying: what is used afterwards is recognised as long as its memory is not used again.
template <class T> static cublasStatus_t destroy(const void *pointer, Kind kind, const char *what)
{
    return blas([&] {
        T &t = object<T>(pointer, kind, what);
        t.kind = Kind::dead;
        delete &t;
    });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return destroy<Handle>(handle, Kind::handle, "handle");
}

size_t cublasLtGetVersion()
{
    return CUBLAS_VERSION;
}

static const struct {
    cublasStatus_t status;
    const char *name, *text;
} STATUSES[] = {
    {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS", "success"},
    {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED", "not initialised"},
    {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE", "an invalid value"},
    {CUBLAS_STATUS_EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED", "the launch failed"},
    {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED", "not supported"},
};

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    for (const auto &s : STATUSES)
        if (s.status == status)
            return s.name;
    return "an unknown status";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    for (const auto &s : STATUSES)
        if (s.status == status)
            return s.text;
    return "an unknown status";
}

// ---- what is computed -----------------------------------------------------------------------
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *description,
                                        cublasComputeType_t compute, cudaDataType_t scale)
{
    return blas([&] {
        if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "compute type %d with scale type %d",
                   static_cast<int>(compute), static_cast<int>(scale));
        *description = reinterpret_cast<cublasLtMatmulDesc_t>(new Description);
    });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description)
{
    return destroy<Description>(description, Kind::description, "description");
}

static cublasOperation_t operation(const void *value, size_t size, const char *attribute)
{
    int32_t op = value_of<int32_t>(value, size, attribute);
    if (op != CUBLAS_OP_N && op != CUBLAS_OP_T)
        refuse(CUBLAS_STATUS_NOT_SUPPORTED, "%s: operation %d", attribute, op);
    return static_cast<cublasOperation_t>(op);
}

static cublasLtEpilogue_t epilogue(const void *value, size_t size)
{
    uint32_t e = value_of<uint32_t>(value, size, "EPILOGUE");
    if (e != CUBLASLT_EPILOGUE_DEFAULT && e != CUBLASLT_EPILOGUE_BIAS)
        refuse(CUBLAS_STATUS_NOT_SUPPORTED, "epilogue %u", e);
    return static_cast<cublasLtEpilogue_t>(e);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t size)
{
    return blas([&] {
        auto &d = object<Description>(description, Kind::description, "description");
        switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA:
            d.a = operation(value, size, "TRANSA");
            break;
        case CUBLASLT_MATMUL_DESC_TRANSB:
            d.b = operation(value, size, "TRANSB");
            break;
        case CUBLASLT_MATMUL_DESC_EPILOGUE:
            d.epilogue = epilogue(value, size);
            break;
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
            d.bias = value_of<const void *>(value, size, "BIAS_POINTER");
            break;
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
            d.bias_type = value_of<int32_t>(value, size, "BIAS_DATA_TYPE");
            break;
        default:
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %d of a description",
                   static_cast<int>(attribute));
        }
    });
}

// ---- matrices -------------------------------------------------------------------------------
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld)
{
    return blas([&] {
        if (rows == 0 || columns == 0 || ld < static_cast<int64_t>(rows))
            refuse(CUBLAS_STATUS_INVALID_VALUE, "a matrix of %llu x %llu with ld %lld",
                   static_cast<unsigned long long>(rows), static_cast<unsigned long long>(columns),
                   static_cast<long long>(ld));
        Layout *l = new Layout;
        l->type = type;
        l->rows = rows;
        l->columns = columns;
        l->ld = ld;
        *layout = reinterpret_cast<cublasLtMatrixLayout_t>(l);
    });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    return destroy<Layout>(layout, Kind::layout, "layout");
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t size)
{
    return blas([&] {
        auto &l = object<Layout>(layout, Kind::layout, "layout");
        switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_ROWS:
            l.rows = value_of<uint64_t>(value, size, "ROWS");
            break;
        case CUBLASLT_MATRIX_LAYOUT_COLS:
            l.columns = value_of<uint64_t>(value, size, "COLS");
            break;
        case CUBLASLT_MATRIX_LAYOUT_LD:
            l.ld = value_of<int64_t>(value, size, "LD");
            break;
        default:
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %d of a layout",
                   static_cast<int>(attribute));
        }
    });
}

// ---- what an algorithm may do ---------------------------------------------------------------
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return destroy<Preference>(preference, Kind::preference, "preference");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t size)
{
    return blas([&] {
        auto &p = object<Preference>(preference, Kind::preference, "preference");
        int operand = static_cast<int>(attribute) -
                      static_cast<int>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
        switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            p.workspace = value_of<uint64_t>(value, size, "MAX_WORKSPACE_BYTES");
            break;
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
            p.reductions = value_of<uint32_t>(value, size, "REDUCTION_SCHEME_MASK");
            break;
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            p.alignment[operand] = value_of<uint32_t>(value, size, "MIN_ALIGNMENT");
            break;
        default:
            refuse(CUBLAS_STATUS_NOT_SUPPORTED, "attribute %d of a preference",
                   static_cast<int>(attribute));
        }
    });
}
