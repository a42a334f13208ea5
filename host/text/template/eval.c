/* Expressions. */
#include "text/template/exec.h"

#include <string.h>

static gf_status eval_name(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    const gf_jval *v = gf_jframe_find(f, n->name);
    if (v != NULL) {
        *out = *v;
        return GF_OK;
    }
    const gf_jfunction *g = gf_jfunction_find(n->name);
    if (g != NULL) {
        *out = (gf_jval){.kind = GF_J_FUNCTION, .function = g};
        return GF_OK;
    }
    gf_jundefined *u = gf_jarena_object(&r->arena, 1, sizeof *u, r->err);
    if (u == NULL)
        return gf_jrun_spent(r);
    u->name = n->name;
    *out = gf_jval_undefined(u);
    return GF_OK;
}

static gf_status eval_list(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jlist *l = gf_jlist_new(r, n->count);
    if (l == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < n->count; i++)
        TRY(gf_jeval(r, f, n->item[i], &l->item[i]));
    l->count = n->count;
    *out = gf_jval_list(n->kind == GF_JN_LIST ? GF_J_LIST : GF_J_TUPLE, l);
    return GF_OK;
}

static gf_status eval_dict(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jdict *d = gf_jdict_new(r);
    if (d == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        gf_jval k, v;
        TRY(gf_jeval(r, f, n->item[i], &k));
        TRY(gf_jeval(r, f, n->item[i + 1], &v));
        TRY(gf_jdict_set(r, d, k, v));
    }
    *out = (gf_jval){.kind = GF_J_DICT, .d = d};
    return GF_OK;
}

static gf_status eval_logic(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    for (size_t i = 0; i < n->count; i++) {
        TRY(gf_jeval(r, f, n->item[i], out));
        if (gf_jval_truth(*out) == (n->kind == GF_JN_OR))
            break;
    }
    return GF_OK;
}

static gf_status eval_concat(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    TRY(gf_jval_text(r, "", 0, false, out));
    for (size_t i = 0; i < n->count; i++) {
        gf_jval v;
        TRY(gf_jeval(r, f, n->item[i], &v));
        TRY(gf_jval_str(r, v, &v));
        if (v.s->safe) /* ~ joins plain text: nothing is escaped */
            TRY(gf_jval_text(r, v.s->data, v.s->size, false, &v));
        TRY(gf_jval_concat(r, *out, v, out));
    }
    return GF_OK;
}

static gf_status compare(gf_jrun *r, int op, gf_jval a, gf_jval b, bool *out)
{
    switch (op) {
    case GF_JOP2('=', '='):
        return gf_jval_equal(r, a, b, out);
    case GF_JOP2('!', '='):
        TRY(gf_jval_equal(r, a, b, out));
        *out = !*out;
        return GF_OK;
    case 'i':
        return gf_jval_contains(r, b, a, out);
    case 'x':
        TRY(gf_jval_contains(r, b, a, out));
        *out = !*out;
        return GF_OK;
    default:
        break;
    }
    const char text[3] = {(char)(op & 0xff), (char)(op >> 8), '\0'};
    int order;
    bool nan;
    TRY(gf_jval_order(r, a, b, text, &order, &nan));
    const bool or_equal = op >> 8 != 0 && order == 0;
    *out = !nan && (or_equal || (text[0] == '<' ? order < 0 : order > 0));
    return GF_OK;
}

static gf_status eval_compare(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jval a, b;
    bool yes = true;
    TRY(gf_jeval(r, f, n->item[0], &a));
    for (size_t i = 1; i < n->count && yes; i++) {
        TRY(gf_jeval(r, f, n->item[i], &b));
        r->line = n->line;
        TRY(compare(r, n->ops[i - 1], a, b, &yes));
        a = b;
    }
    *out = gf_jval_bool(yes);
    return GF_OK;
}

static gf_status eval_cond(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    static const gf_jundefined no_else = {
        .hint = "the inline if-expression evaluated to false and no else section was defined"};
    gf_jval test;
    TRY(gf_jeval(r, f, n->a, &test));
    if (gf_jval_truth(test))
        return gf_jeval(r, f, n->b, out);
    if (n->c != NULL)
        return gf_jeval(r, f, n->c, out);
    *out = gf_jval_undefined(&no_else);
    return GF_OK;
}

static gf_status eval_slice(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jval v, bound[3] = {gf_jval_none(), gf_jval_none(), gf_jval_none()};
    const gf_jnode *const part[3] = {n->b, n->c, n->d};
    TRY(gf_jeval(r, f, n->a, &v));
    for (int i = 0; i < 3; i++)
        if (part[i] != NULL)
            TRY(gf_jeval(r, f, part[i], &bound[i]));
    r->line = n->line;
    return gf_jval_slice(r, v, bound, out);
}

static gf_status eval_arith(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jval a, b = gf_jval_none();
    TRY(gf_jeval(r, f, n->a, &a));
    if (n->b != NULL)
        TRY(gf_jeval(r, f, n->b, &b));
    r->line = n->line;
    return gf_jval_arith(r, n->op, a, b, out);
}

/* **kwargs of a call. */
static gf_status spread_named(gf_jrun *r, gf_jval v, gf_jcall *out)
{
    if (v.kind != GF_J_DICT)
        return gf_jrun_fail(r, "argument after ** must be a mapping, not %s", gf_jval_type(v));
    for (size_t i = 0; i < v.d->count; i++) {
        if (v.d->pair[i].key.kind != GF_J_STR)
            return gf_jrun_fail(r, "keywords must be strings");
        out->name[out->named_count] = v.d->pair[i].key.s;
        out->named[out->named_count++] = v.d->pair[i].value;
    }
    return GF_OK;
}

gf_status gf_jeval_arguments(gf_jrun *r, gf_jframe *f, const gf_jargs *args, size_t extra,
                             gf_jcall *out)
{
    static const gf_jargs none = {0};
    *out = (gf_jcall){0};
    if (args == NULL)
        args = &none;
    gf_jlist *l = gf_jlist_new(r, args->count + 1);
    if (l == NULL)
        return gf_jrun_spent(r);
    gf_jval v;
    for (size_t i = 0; i < args->count; i++) {
        TRY(gf_jeval(r, f, args->pos[i], &v));
        TRY(gf_jlist_add(r, l, v));
    }
    if (args->star != NULL) {
        gf_jlist *more;
        TRY(gf_jeval(r, f, args->star, &v));
        TRY(gf_jval_elements(r, v, false, &more));
        for (size_t i = 0, n = more->count; i < n; i++)
            TRY(gf_jlist_add(r, l, more->item[i]));
    }
    out->pos = l->item;
    out->count = l->count;
    gf_jval spread = {.kind = GF_J_NONE};
    if (args->star_star != NULL)
        TRY(gf_jeval(r, f, args->star_star, &spread));
    const size_t cap = args->named_count + extra + (spread.kind == GF_J_DICT ? spread.d->count : 0);
    if (cap == 0 && args->star_star == NULL)
        return GF_OK;
    out->name = gf_jarena_object(&r->arena, cap, sizeof *out->name, r->err);
    out->named = gf_jarena_object(&r->arena, cap, sizeof *out->named, r->err);
    if (out->name == NULL || out->named == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < args->named_count; i++) {
        out->name[i] = args->name[i];
        TRY(gf_jeval(r, f, args->named[i], &out->named[i]));
    }
    out->named_count = args->named_count;
    return args->star_star != NULL ? spread_named(r, spread, out) : GF_OK;
}

gf_status gf_jeval_call(gf_jrun *r, gf_jval callee, const gf_jcall *c, gf_jval *out)
{
    switch (callee.kind) {
    case GF_J_UNDEFINED:
        return gf_jval_is_undefined(r, callee);
    case GF_J_FUNCTION:
        return callee.function->run(r, c, out);
    case GF_J_METHOD:
        return gf_jmethod_call(r, callee.method, c, out);
    case GF_J_MACRO:
        return gf_jmacro_call(r, callee.macro, c, out);
    case GF_J_JOINER: /* nothing at first, then the separator */
        if (callee.l->pos++ > 0)
            *out = callee.l->item[0];
        else
            TRY(gf_jval_text(r, "", 0, false, out));
        return GF_OK;
    default:
        return gf_jrun_fail(r, "'%s' object is not callable", gf_jval_type(callee));
    }
}

static gf_status eval_call(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jval callee;
    gf_jcall c;
    TRY(gf_jeval(r, f, n->a, &callee));
    TRY(gf_jeval_arguments(r, f, n->args, 0, &c));
    r->line = n->line;
    return gf_jeval_call(r, callee, &c, out);
}

gf_status gf_jeval_filter(gf_jrun *r, gf_jframe *f, const gf_jnode *n, const gf_jval *input,
                          gf_jval *out)
{
    gf_jval v;
    gf_jcall c;
    if (n->a == NULL && input != NULL)
        v = *input;
    else if (n->a != NULL && n->a->kind == GF_JN_FILTER)
        TRY(gf_jeval_filter(r, f, n->a, input, &v));
    else
        TRY(gf_jeval(r, f, n->a, &v));
    TRY(gf_jeval_arguments(r, f, n->args, 0, &c));
    r->line = n->line;
    if (n->filter == NULL)
        return gf_jrun_fail(r, "no filter named '%.*s'", (int)n->name->size, n->name->data);
    return n->filter(r, v, &c, out);
}

static gf_status eval_test(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jval v;
    gf_jcall c;
    bool yes;
    TRY(gf_jeval(r, f, n->a, &v));
    TRY(gf_jeval_arguments(r, f, n->args, 0, &c));
    r->line = n->line;
    if (n->test == NULL)
        return gf_jrun_fail(r, "no test named '%.*s'", (int)n->name->size, n->name->data);
    TRY(n->test(r, v, &c, &yes));
    *out = gf_jval_bool(yes);
    return GF_OK;
}

static gf_status eval_access(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jval v, key;
    TRY(gf_jeval(r, f, n->a, &v));
    if (n->kind == GF_JN_ATTRIBUTE) {
        r->line = n->line;
        return gf_jval_attribute(r, v, n->name, out);
    }
    TRY(gf_jeval(r, f, n->b, &key));
    r->line = n->line;
    return gf_jval_item(r, v, key, out);
}

static gf_status eval_node(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    switch (n->kind) {
    case GF_JN_CONST:
        *out = n->value;
        return GF_OK;
    case GF_JN_NAME:
        return eval_name(r, f, n, out);
    case GF_JN_LIST:
    case GF_JN_TUPLE:
        return eval_list(r, f, n, out);
    case GF_JN_DICT:
        return eval_dict(r, f, n, out);
    case GF_JN_ATTRIBUTE:
    case GF_JN_ITEM:
        return eval_access(r, f, n, out);
    case GF_JN_SLICE:
        return eval_slice(r, f, n, out);
    case GF_JN_CALL:
        return eval_call(r, f, n, out);
    case GF_JN_FILTER:
        return gf_jeval_filter(r, f, n, NULL, out);
    case GF_JN_TEST:
        return eval_test(r, f, n, out);
    case GF_JN_NOT:
        TRY(gf_jeval(r, f, n->a, out));
        *out = gf_jval_bool(!gf_jval_truth(*out));
        return GF_OK;
    case GF_JN_AND:
    case GF_JN_OR:
        return eval_logic(r, f, n, out);
    case GF_JN_CONCAT:
        return eval_concat(r, f, n, out);
    case GF_JN_ARITH:
        return eval_arith(r, f, n, out);
    case GF_JN_COMPARE:
        return eval_compare(r, f, n, out);
    case GF_JN_COND:
        return eval_cond(r, f, n, out);
    default:
        return gf_jrun_fail(r, "not an expression");
    }
}

gf_status gf_jeval(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    TRY(gf_jrun_step(r, 1));
    /* one chain of operators (1000) around the deepest calls (200) still fits the stack */
    if (r->depth >= 2000)
        return gf_jrun_fail(r, "the template recurses too deeply");
    r->depth++;
    const gf_status st = eval_node(r, f, n, out);
    r->depth--;
    return st;
}
