/* pickle_name.c - what a pickle may refer to. Contract: format/pickle.h. */
#include "format/pickle.h"

#include <string.h>

const gf_pickle_storage gf_pickle_storages[GF_PICKLE_STORAGES] = {
    {"FloatStorage", "F32"},  {"HalfStorage", "F16"},  {"BFloat16Storage", "BF16"},
    {"DoubleStorage", "F64"}, {"LongStorage", "I64"},  {"IntStorage", "I32"},
    {"ShortStorage", "I16"},  {"CharStorage", "I8"},   {"ByteStorage", "U8"},
    {"UntypedStorage", "U8"}, {"BoolStorage", "BOOL"},
};

static bool is(const char *s, size_t n, const char *want)
{
    return strlen(want) == n && memcmp(s, want, n) == 0;
}

int gf_pickle_find_name(const char *module, size_t m, const char *name, size_t n)
{
    static const struct {
        const char *module, *name;
        gf_pickle_name id;
    } names[] = {
        {"collections", "OrderedDict", GF_NAME_ORDERED_DICT},
        {"torch", "Size", GF_NAME_SIZE},
        {"torch._utils", "_rebuild_tensor", GF_NAME_TENSOR},
        {"torch._utils", "_rebuild_tensor_v2", GF_NAME_TENSOR_V2},
        {"torch._utils", "_rebuild_parameter", GF_NAME_PARAMETER},
        {"torch", "float32", GF_NAME_DTYPE},
        {"torch", "float16", GF_NAME_DTYPE},
        {"torch", "bfloat16", GF_NAME_DTYPE},
        {"torch", "float64", GF_NAME_DTYPE},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is(module, m, names[i].module) && is(name, n, names[i].name))
            return (int)names[i].id;
    for (int i = 0; i < GF_PICKLE_STORAGES; i++)
        if ((is(module, m, "torch") || is(module, m, "torch.storage")) &&
            is(name, n, gf_pickle_storages[i].class))
            return GF_NAME_STORAGE + i;
    return -1;
}
