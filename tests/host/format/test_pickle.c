/* test_pickle.c - what the stack machine builds, and programs that it refuses. */
#include "format/pickle.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static gf_status run(gf_pickle *p, const char *code, size_t size, int *top, gf_err *err)
{
    size_t at = 0;
    char *copy = malloc(size); /* so that a sanitizer sees a step beyond the end */
    memcpy(copy, code, size);
    const gf_status st = gf_pickle_run(p, (const unsigned char *)copy, size, &at, "x", top, err);
    cr_expect(st != GF_OK || at == size);
    free(copy);
    return st;
}

Test(pickle, builds)
{
    /* a dictionary with a number, a tuple of a list and none, and the same tuple by its note */
    static const char code[] = "\x80\2}q\0(X\1\0\0\0aJ\xFE\xFF\xFF\xFFX\1\0\0\0b](K\7K\x08"
                               "eN\x86q\1X\1\0\0\0ch\1u.";
    gf_pickle p = {0};
    gf_err err = {0};
    int top = 0;
    cr_assert_eq(run(&p, code, sizeof code - 1, &top, &err), GF_OK, "%s", err.text);
    const gf_pickle_value *d = &p.value[top];
    cr_assert(d->kind == GF_PICKLE_DICT && d->count == 6);
    cr_expect(p.value[d->item[1]].kind == GF_PICKLE_INT && p.value[d->item[1]].number == -2);
    const gf_pickle_value *t = &p.value[d->item[3]];
    cr_assert(t->kind == GF_PICKLE_TUPLE && t->count == 2);
    cr_expect(p.value[t->item[0]].kind == GF_PICKLE_LIST && p.value[t->item[0]].count == 2);
    cr_expect_eq(p.value[p.value[t->item[0]].item[1]].number, 8);
    cr_expect_eq(p.value[t->item[1]].kind, GF_PICKLE_NONE);
    cr_expect_eq(d->item[5], d->item[3]);
    gf_pickle_free(&p);
}

Test(pickle, names)
{
    static const struct {
        const char *module, *name;
        bool known;
    } table[] = {
        {"collections", "OrderedDict", true},
        {"torch", "Size", true},
        {"torch._utils", "_rebuild_tensor", true},
        {"torch._utils", "_rebuild_tensor_v2", true},
        {"torch._utils", "_rebuild_parameter", true},
        {"torch", "bfloat16", true},
        {"torch", "BFloat16Storage", true},
        {"torch.storage", "UntypedStorage", true},
        {"collections", "OrderedDic", false},
        {"builtins", "eval", false},
        {"os", "system", false},
        {"torch", "load", false},
        {"torch._utils", "_rebuild_qtensor", false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        cr_expect_eq(gf_pickle_find_name(table[i].module, strlen(table[i].module), table[i].name,
                                         strlen(table[i].name)) >= 0,
                     table[i].known, "%s.%s", table[i].module, table[i].name);
}

/* A deep nest costs no stack: lists in lists, a million deep. */
Test(pickle, depth)
{
    enum { DEEP = 1000000 };
    gf_pickle p = {0};
    gf_err err = {0};
    int top = 0;
    char *code = malloc(2 * DEEP + 2);
    memset(code, ']', DEEP + 1);
    memset(code + DEEP + 1, 'a', DEEP);
    code[2 * DEEP + 1] = '.';
    cr_expect_eq(run(&p, code, 2 * DEEP + 2, &top, &err), GF_OK, "%s", err.text);
    gf_pickle_free(&p);
    free(code);
}

#define BAD(code, says)                                                                            \
    {                                                                                              \
        code, sizeof(code) - 1, says                                                               \
    }

Test(pickle, refuses)
{
    static const struct {
        const char *code;
        size_t size;
        const char *says;
    } table[] = {
        BAD("", "byte 0"),
        BAD("\x80", "byte 0: the pickle ends"),
        BAD("\x80\2", "ends inside"),
        BAD(".", "one value"),
        BAD("K\1K\2.", "one value"),
        BAD("(K\1.", "one value"),
        BAD("K", "ends inside"),
        BAD("J\1\2\3", "ends inside"),
        BAD("X\4\0\0\0abc", "ends inside"),
        BAD("X\xFF\xFF\xFF\xFF", "ends inside"),
        BAD("X\2\0\0\0\xC3\x28.", "UTF-8"),
        BAD("U\1\0.", "UTF-8"),
        BAD("\x8a\x09"
            "123456789.",
            "64 bits"),
        BAD("t.", "did not open"),
        BAD("K\1\x86.", "not there"),
        BAD("(\x85.", "not there"),
        BAD("K\1(\x85.", "not there"),
        BAD("R.", "not there"),
        BAD("K\1)R.", "calls what is no name"),
        BAD("ccollections\nOrderedDict\nK\1R.", "calls what is no name"),
        BAD("ccollections\nOrderedDict\nK\1\x85R.", "does not take"),
        BAD("ctorch\nFloatStorage\n)R.", "does not take"),
        BAD("ctorch\nSize\nK\1\x85R.", "does not take"),
        BAD("cos\nsystem\nX\4\0\0\0true\x85R.", "os.system, which is no tensor: refused"),
        BAD("cbuiltins\nexec\n.", "builtins.exec"),
        BAD("X\5\0\0\0posixX\6\0\0\0system\x93.", "posix.system"),
        BAD("K\1K\1\x93.", "not text"),
        BAD("cos\nsystem", "inside a name"),
        BAD("cos", "inside a name"),
        BAD("c\xFF\n\xFF\n.", "refers to something"),
        BAD("ios\nsystem\n.", "0x69"), /* INST */
        BAD("(ios\nsystem\n.", "0x69"),
        BAD("K\1o.", "0x6f"),   /* OBJ */
        BAD("\x82\1.", "0x82"), /* EXT1 */
        BAD("P0\n.", "0x50"),   /* PERSID of text */
        BAD("I1\n.", "0x49"),   /* the text protocol */
        BAD("\x92.", "0x92"),   /* NEWOBJ_EX */
        BAD("h\0.", "not noted"),
        BAD("K\1q\1h\0.", "not noted"),
        BAD("j\xFF\xFF\xFF\xFF.", "not noted"),
        BAD("q\0.", "not there"),
        BAD("K\1r\xFF\xFF\xFF\x7F.", "too high"),
        BAD("K\1K\2s.", "not there"),
        BAD("K\1K\2K\3s.", "no dictionary"),
        BAD("](K\1u.", "no dictionary"),
        BAD("}(K\1u.", "without a value"),
        BAD("}K\1a.", "no list"),
        BAD("K\1(K\2e.", "no list"),
        BAD("K\1}b.", "no dictionary"),
        BAD("}b.", "no dictionary"),
        BAD("Q.", "not there"),
        BAD("\x95\0\0\0", "ends inside"),
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gf_pickle p = {0};
        gf_err err = {0};
        int top = 0;
        cr_expect_eq(run(&p, table[i].code, table[i].size, &top, &err), GF_EINPUT, "%s",
                     table[i].says);
        cr_expect(strstr(err.text, table[i].says), "%d: %s: %s", (int)i, table[i].says, err.text);
        gf_pickle_free(&p);
    }
}
