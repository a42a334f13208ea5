/* library.c - dlopen and dlsym. Contract: library.h. */
#include "library.h"

#include <dlfcn.h>
#include <string.h>

gf_status gf_library_open(void **out, const char *const *names, const gf_symbol *symbols,
                          size_t count, const char *hint, gf_err *err)
{
    void *library = NULL;
    const char *name = names[0];
    *out = NULL;
    for (; *names && !library; names++)
        library = dlopen(name = *names, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return gf_fail(err, GF_EMISSING, "%s; %s", why ? why : name, hint);
    }
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (!address) {
            (void)dlclose(library);
            return gf_fail(err, GF_EMISSING, "%s has no %s: it is too old; %s", name,
                           symbols[i].name, hint);
        }
        /* ISO C has no cast from void * to a function pointer; POSIX says that they are alike */
        memcpy(symbols[i].to, &address, sizeof address);
    }
    *out = library;
    return GF_OK;
}
