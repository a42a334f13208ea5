/* launch.c - finding kernels and enqueueing them. Contract: cuda.h, device.h. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules.h"

#define TABLE (2 * GF_KERNELS)
#define SHARED_FREE ((size_t)48 << 10) /* of a block, without asking (CUDA C++ guide, 5.2.3) */

static size_t modules_count(void)
{
    size_t n = 0;
    while (gf_modules[n].name)
        n++;
    return n;
}

gf_status gf_kernels_open(gf_kernels *k, gf_err *err)
{
    k->loaded = gf_alloc(modules_count() + 1, sizeof *k->loaded, err);
    return k->loaded ? GF_OK : GF_ENOMEM;
}

void gf_kernels_close(gf_kernels *k, const gf_driver *d)
{
    for (int i = 0; i < TABLE; i++) {
        free(k->kernel[i].module);
        free(k->kernel[i].name);
    }
    for (size_t i = 0; k->loaded && i < modules_count(); i++)
        if (k->loaded[i])
            (void)d->module_unload(k->loaded[i]);
    free(k->loaded);
    *k = (gf_kernels){0};
}

/* ---- which kernels ran ------------------------------------------------------------------ */

void gf_kernels_add(gf_kernel_set *to, const gf_kernel_set *from)
{
    for (size_t i = 0; i < sizeof to->bit / sizeof *to->bit; i++)
        to->bit[i] |= from->bit[i];
    to->product |= from->product;
}

void gf_kernels_text(const gf_kernels *k, const gf_kernel_set *set, char *text, size_t size)
{
    size_t at = 0;
    const char *comma = "";
    text[0] = '\0';
    for (int i = 0; i <= TABLE; i++) {
        const bool last = i == TABLE; /* cuBLASLt's product stands behind the kernels */
        const gf_kernel *one = last ? NULL : &k->kernel[i];
        if (last ? !set->product
                 : !one->name || !(set->bit[one->number / 64] >> (one->number % 64) & 1u))
            continue;
        const char *name = last ? "a product of cuBLASLt" : one->name;
        if (at + strlen(name) + sizeof ", ..." > size) {
            (void)snprintf(text + at, size - at, "%s...", comma);
            return;
        }
        at += (size_t)snprintf(text + at, size - at, "%s%s", comma, name);
        comma = ", ";
    }
}

/* ---- finding ---------------------------------------------------------------------------- */

static uint32_t hash(const char *module, const char *name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *module; module++)
        h = (h ^ (unsigned char)*module) * 16777619u;
    h *= 16777619u; /* a zero byte, so that "ab","c" is not "a","bc" */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

static gf_status load(gf_backend *be, const char *name, CUmodule *out)
{
    gf_cuda *c = be->cuda;
    char text[256];
    for (size_t i = 0; gf_modules[i].name; i++) {
        if (strcmp(gf_modules[i].name, name) != 0)
            continue;
        if (!c->kernels.loaded[i]) {
            const CUresult code = c->call.module_load(&c->kernels.loaded[i], gf_modules[i].start);
            if (code != CUDA_SUCCESS) {
                snprintf(text, sizeof text, "module %s of compute capability %d.%d", name,
                         c->about.major, c->about.minor);
                return gf_cuda_fail(be, code, "cuModuleLoadData", text);
            }
        }
        *out = c->kernels.loaded[i];
        return GF_OK;
    }
    return gf_fail(&be->err, GF_EDEVICE, "this build has no CUDA module \"%s\"", name);
}

static gf_status add(gf_backend *be, gf_kernel *k, const char *module, const char *name)
{
    gf_cuda *c = be->cuda;
    CUmodule from = NULL;
    CUfunction function = NULL;
    int fixed = 0;
    if (c->kernels.count == GF_KERNELS)
        return gf_fail(&be->err, GF_EDEVICE, "%s: more than %d kernels", name, GF_KERNELS);
    TRY(load(be, module, &from));
    CUresult code = c->call.module_function(&function, from, name);
    if (code != CUDA_SUCCESS)
        return gf_cuda_fail(be, code, "cuModuleGetFunction", name);
    code = c->call.function_attribute(&fixed, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function);
    if (code != CUDA_SUCCESS)
        return gf_cuda_fail(be, code, "cuFuncGetAttribute", name);
    char *own_module = gf_strdup(module, &be->err), *own_name = gf_strdup(name, &be->err);
    if (!own_module || !own_name) {
        free(own_module);
        free(own_name);
        return GF_ENOMEM;
    }
    *k = (gf_kernel){.module = own_module,
                     .name = own_name,
                     .function = function,
                     .shared = (size_t)fixed < SHARED_FREE ? SHARED_FREE - (size_t)fixed : 0,
                     .number = c->kernels.count++};
    return GF_OK;
}

/* At most half of the table is ever used: the search ends. */
static gf_status find(gf_backend *be, const char *module, const char *name, gf_kernel **out)
{
    gf_kernel *table = be->cuda->kernels.kernel;
    uint32_t at = hash(module, name) % TABLE;
    while (table[at].name &&
           (strcmp(table[at].name, name) != 0 || strcmp(table[at].module, module) != 0))
        at = (at + 1) % TABLE;
    *out = &table[at];
    return table[at].name ? GF_OK : add(be, &table[at], module, name);
}

/* ---- launching -------------------------------------------------------------------------- */

gf_status gf_cuda_launched(gf_backend *be, const char *name)
{
    gf_cuda *c = be->cuda;
    if (!c->each)
        return GF_OK;
    const CUresult code = c->call.stream_wait(c->stream);
    return code == CUDA_SUCCESS ? GF_OK : gf_cuda_fail(be, code, "cuLaunchKernel", name);
}

gf_status gf_cuda_launch(gf_backend *be, const char *module, const char *kernel, gf_dim grid,
                         gf_dim block, size_t shared, void **params)
{
    gf_cuda *c = be->cuda;
    gf_kernel *k;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return GF_OK;
    be->tally.launches++;
    if (be->dry)
        return GF_OK;
    TRY(gf_cuda_ready(be));
    TRY(find(be, module, kernel, &k));
    if (shared > k->shared) {
        const CUresult code = c->call.function_set(
            k->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared);
        if (code != CUDA_SUCCESS)
            return gf_cuda_fail(be, code, "cuFuncSetAttribute", kernel);
        k->shared = shared;
    }
    const CUresult code = c->call.launch(k->function, grid.x, grid.y, grid.z, block.x, block.y,
                                         block.z, (unsigned)shared, c->stream, params, NULL);
    if (code != CUDA_SUCCESS)
        return gf_cuda_fail(be, code, "cuLaunchKernel", kernel);
    c->kernels.since.bit[k->number / 64] |= (uint64_t)1 << (k->number % 64);
    return gf_cuda_launched(be, kernel);
}
