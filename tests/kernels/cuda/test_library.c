/* test_library.c - shared libraries: the first that is there, what is missing is named. */
#include "cuda/library.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static void *library;

Test(library, first_that_is_there)
{
    static const char *const names[] = {"libnosuch.so.1", "libm.so.6", NULL};
    double (*root)(double) = NULL;
    const gf_symbol symbol = {"sqrt", &root};
    gf_err err = {0};
    cr_assert_eq(gf_library_open(&library, names, &symbol, 1, "", &err), GF_OK, "%s", err.text);
    cr_assert_not_null(library);
    cr_assert_eq(root(16.0), 4.0);
}

Test(library, none_there)
{
    static const char *const names[] = {"libnosuch.so.1", "libnosuch.so.2", NULL};
    gf_err err = {0};
    cr_assert_eq(gf_library_open(&library, names, NULL, 0, "do this", &err), GF_EMISSING);
    cr_assert_null(library);
    cr_assert(strstr(err.text, "libnosuch.so.2"), "%s", err.text);
    cr_assert(strstr(err.text, "; do this"), "%s", err.text);
}

Test(library, too_old)
{
    static const char *const names[] = {"libm.so.6", NULL};
    void (*call)(void) = NULL;
    const gf_symbol symbol = {"gf_not_in_there", &call};
    gf_err err = {0};
    cr_assert_eq(gf_library_open(&library, names, &symbol, 1, "do this", &err), GF_EMISSING);
    cr_assert_null(library);
    cr_assert_str_eq(err.text, "libm.so.6 has no gf_not_in_there: it is too old; do this");
}
