/* What may follow `is`. */
#include "text/template/value.h"

#include "text/template/text.h"

#include <string.h>

static gf_status t_kind(gf_jrun *r, const gf_jcall *c, const char *what)
{
    return gf_jcall_bind(r, c, what, "", 0, NULL);
}

#define KIND_TEST(name, condition)                                                                 \
    static gf_status t_##name(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)                 \
    {                                                                                              \
        *out = (condition);                                                                        \
        return t_kind(r, c, #name);                                                                \
    }
KIND_TEST(defined, v.kind != GF_J_UNDEFINED)
KIND_TEST(undefined, v.kind == GF_J_UNDEFINED)
KIND_TEST(none, v.kind == GF_J_NONE)
KIND_TEST(boolean, v.kind == GF_J_BOOL)
KIND_TEST(true, v.kind == GF_J_BOOL && v.b)
KIND_TEST(false, v.kind == GF_J_BOOL && !v.b)
KIND_TEST(integer, v.kind == GF_J_INT)
KIND_TEST(float, v.kind == GF_J_FLOAT)
KIND_TEST(number, gf_jval_number(v))
KIND_TEST(string, v.kind == GF_J_STR)
KIND_TEST(mapping, v.kind == GF_J_DICT)
KIND_TEST(escaped, v.kind == GF_J_STR && v.s->safe)
KIND_TEST(sequence, v.kind == GF_J_STR || v.kind == GF_J_LIST || v.kind == GF_J_TUPLE ||
                        v.kind == GF_J_RANGE || v.kind == GF_J_DICT || v.kind == GF_J_UNDEFINED)
KIND_TEST(iterable, v.kind == GF_J_STR || v.kind == GF_J_LIST || v.kind == GF_J_TUPLE ||
                        v.kind == GF_J_RANGE || v.kind == GF_J_DICT || v.kind == GF_J_VIEW ||
                        v.kind == GF_J_GENERATOR || v.kind == GF_J_UNDEFINED || v.kind == GF_J_LOOP)
KIND_TEST(callable, v.kind == GF_J_MACRO || v.kind == GF_J_METHOD || v.kind == GF_J_FUNCTION ||
                        v.kind == GF_J_JOINER || v.kind == GF_J_UNDEFINED)

/* A string with a cased letter, all of whose cased letters are of one case. */
static bool all_of_case(const gf_jstr *s, bool upper)
{
    bool any = false;
    for (size_t i = 0, step; i < s->size; i += step) {
        const uint32_t cp = gf_jchar_at(s->data + i, s->size - i, &step);
        if (!gf_jchar_cased(cp))
            continue;
        if ((gf_jchar_lower(cp) != cp) != upper)
            return false;
        any = true;
    }
    return any;
}

static gf_status case_test(gf_jrun *r, gf_jval v, const gf_jcall *c, bool upper, bool *out)
{
    TRY(t_kind(r, c, upper ? "upper" : "lower"));
    TRY(gf_jval_str(r, v, &v));
    TRY(gf_jrun_step(r, v.s->size >> 4));
    *out = all_of_case(v.s, upper);
    return GF_OK;
}

static gf_status t_upper(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    return case_test(r, v, c, true, out);
}

static gf_status t_lower(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    return case_test(r, v, c, false, out);
}

static gf_status remainder_test(gf_jrun *r, gf_jval v, gf_jval by, int64_t want, bool *out)
{
    gf_jval m;
    TRY(gf_jval_arith(r, '%', v, by, &m));
    return gf_jval_equal(r, m, gf_jval_int(want), out);
}

static gf_status t_odd(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    TRY(t_kind(r, c, "odd"));
    return remainder_test(r, v, gf_jval_int(2), 1, out);
}

static gf_status t_even(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    TRY(t_kind(r, c, "even"));
    return remainder_test(r, v, gf_jval_int(2), 0, out);
}

static gf_status t_divisibleby(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    gf_jval by;
    TRY(gf_jcall_bind(r, c, "divisibleby", "num", 1, &by));
    return remainder_test(r, v, by, 0, out);
}

static gf_status t_eq(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    gf_jval other;
    TRY(gf_jcall_bind(r, c, "eq", "other", 1, &other));
    return gf_jval_equal(r, v, other, out);
}

static gf_status t_ne(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    TRY(t_eq(r, v, c, out));
    *out = !*out;
    return GF_OK;
}

static gf_status order_test(gf_jrun *r, gf_jval v, const gf_jcall *c, const char *op, bool *out)
{
    gf_jval other;
    int order;
    bool nan;
    TRY(gf_jcall_bind(r, c, op, "other", 1, &other));
    TRY(gf_jval_order(r, v, other, op, &order, &nan));
    *out = !nan && ((op[1] == '=' && order == 0) || (op[0] == '<' ? order < 0 : order > 0));
    return GF_OK;
}

#define ORDER_TEST(name, op)                                                                       \
    static gf_status t_##name(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)                 \
    {                                                                                              \
        return order_test(r, v, c, op, out);                                                       \
    }
ORDER_TEST(lt, "<")
ORDER_TEST(le, "<=")
ORDER_TEST(gt, ">")
ORDER_TEST(ge, ">=")

static gf_status t_in(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    gf_jval container;
    TRY(gf_jcall_bind(r, c, "in", "seq", 1, &container));
    return gf_jval_contains(r, container, v, out);
}

static gf_status t_sameas(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    gf_jval other;
    TRY(gf_jcall_bind(r, c, "sameas", "other", 1, &other));
    *out = v.kind == other.kind;
    if (!*out || v.kind == GF_J_NONE || v.kind == GF_J_UNDEFINED)
        return GF_OK;
    if (v.kind == GF_J_BOOL || v.kind == GF_J_INT || v.kind == GF_J_FLOAT || v.kind == GF_J_STR)
        return gf_jval_equal(r, v, other, out); /* Python shares small ones */
    *out = v.l == other.l;
    return GF_OK;
}

static gf_status t_filter(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    TRY(t_kind(r, c, "filter"));
    TRY(gf_jval_str(r, v, &v));
    *out = gf_jfilter_find(v.s->data, v.s->size) != NULL;
    return GF_OK;
}

static gf_status t_test(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out)
{
    TRY(t_kind(r, c, "test"));
    TRY(gf_jval_str(r, v, &v));
    *out = gf_jtest_find(v.s->data, v.s->size) != NULL;
    return GF_OK;
}

gf_jtest gf_jtest_find(const char *name, size_t n)
{
    static const struct {
        const char *name;
        gf_jtest run;
    } table[] = {
        {"defined", t_defined},
        {"undefined", t_undefined},
        {"none", t_none},
        {"boolean", t_boolean},
        {"true", t_true},
        {"false", t_false},
        {"integer", t_integer},
        {"float", t_float},
        {"number", t_number},
        {"string", t_string},
        {"mapping", t_mapping},
        {"sequence", t_sequence},
        {"iterable", t_iterable},
        {"callable", t_callable},
        {"escaped", t_escaped},
        {"upper", t_upper},
        {"lower", t_lower},
        {"odd", t_odd},
        {"even", t_even},
        {"divisibleby", t_divisibleby},
        {"eq", t_eq},
        {"equalto", t_eq},
        {"==", t_eq},
        {"ne", t_ne},
        {"!=", t_ne},
        {"lt", t_lt},
        {"lessthan", t_lt},
        {"<", t_lt},
        {"le", t_le},
        {"<=", t_le},
        {"gt", t_gt},
        {"greaterthan", t_gt},
        {">", t_gt},
        {"ge", t_ge},
        {">=", t_ge},
        {"in", t_in},
        {"sameas", t_sameas},
        {"filter", t_filter},
        {"test", t_test},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
            return table[i].run;
    return NULL;
}
