/* Literals, names, and what may follow them: subscripts, calls, filters, tests. */
#include "text/template/ast.h"

#include <string.h>

static gf_status add_argument(gf_jparser *p, gf_jargs *args, gf_jnodes *pos, gf_jnodes *named,
                              gf_jnode *n)
{
    if (gf_jparse_op(p, '*')) {
        if (args->star != NULL || args->star_star != NULL)
            return gf_jparse_fail(p, "invalid arguments of a call");
        TRY(gf_jparse_expression(p, true, &args->star));
        return gf_jnode_adopt(p, n, args->star);
    }
    if (gf_jparse_op(p, GF_JOP2('*', '*'))) {
        if (args->star_star != NULL)
            return gf_jparse_fail(p, "invalid arguments of a call");
        TRY(gf_jparse_expression(p, true, &args->star_star));
        return gf_jnode_adopt(p, n, args->star_star);
    }
    const gf_jstr *name = NULL;
    if (p->tok->kind == GF_JT_NAME && p->tok[1].kind == GF_JT_OP && p->tok[1].op == '=') {
        TRY(gf_jparse_expect_name(p, &name));
        p->tok++;
    }
    if (args->star_star != NULL || (name == NULL && (args->star != NULL || named->count > 0)))
        return gf_jparse_fail(p, "invalid arguments of a call");
    gf_jnode *value;
    TRY(gf_jparse_expression(p, true, &value));
    TRY(gf_jnode_adopt(p, n, value));
    if (name == NULL)
        return gf_jnodes_add(p, pos, value);
    GF_JNODE(pair, GF_JN_NAME);
    pair->name = name;
    pair->a = value;
    return gf_jnodes_add(p, named, pair);
}

/* (args) into n->args; the '(' is next. */
static gf_status parse_arguments(gf_jparser *p, gf_jnode *n)
{
    gf_jargs *args = gf_jarena_object(&p->t->arena, 1, sizeof *args, p->err);
    if (args == NULL)
        return gf_jparse_spent(p);
    gf_jnodes pos = {0}, named = {0};
    TRY(gf_jparse_expect_op(p, '('));
    for (bool first = true; !gf_jparse_op(p, ')'); first = false) {
        if (!first) {
            TRY(gf_jparse_expect_op(p, ','));
            if (gf_jparse_op(p, ')'))
                break;
        }
        TRY(add_argument(p, args, &pos, &named, n));
    }
    args->pos = pos.item;
    args->count = pos.count;
    args->named_count = named.count;
    args->named = named.item;
    args->name = gf_jarena_object(&p->t->arena, named.count + 1, sizeof *args->name, p->err);
    if (args->name == NULL)
        return gf_jparse_spent(p);
    for (size_t i = 0; i < named.count; i++) {
        args->name[i] = named.item[i]->name;
        args->named[i] = named.item[i]->a;
    }
    n->args = args;
    return GF_OK;
}

static gf_status parse_list(gf_jparser *p, gf_jnode **out)
{
    GF_JNODE(n, GF_JN_LIST);
    gf_jnodes l = {0};
    p->tok++;
    for (bool first = true; !gf_jparse_op(p, ']'); first = false) {
        if (!first) {
            TRY(gf_jparse_expect_op(p, ','));
            if (gf_jparse_op(p, ']'))
                break;
        }
        gf_jnode *e;
        TRY(gf_jparse_expression(p, true, &e));
        TRY(gf_jnodes_add(p, &l, e));
    }
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}

static gf_status parse_dict(gf_jparser *p, gf_jnode **out)
{
    GF_JNODE(n, GF_JN_DICT);
    gf_jnodes l = {0};
    p->tok++;
    for (bool first = true; !gf_jparse_op(p, '}'); first = false) {
        if (!first) {
            TRY(gf_jparse_expect_op(p, ','));
            if (gf_jparse_op(p, '}'))
                break;
        }
        gf_jnode *key, *value;
        TRY(gf_jparse_expression(p, true, &key));
        TRY(gf_jparse_expect_op(p, ':'));
        TRY(gf_jparse_expression(p, true, &value));
        TRY(gf_jnodes_add(p, &l, key));
        TRY(gf_jnodes_add(p, &l, value));
    }
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}

/* A literal string; adjacent ones are one. */
static gf_status parse_string(gf_jparser *p, gf_jnode *n)
{
    gf_jstr *s = gf_jarena_object(&p->t->arena, 1, sizeof *s, p->err);
    if (s == NULL)
        return gf_jparse_spent(p);
    s->data = p->tok->text;
    s->size = p->tok->size;
    for (p->tok++; p->tok->kind == GF_JT_STRING; p->tok++) {
        char *d = gf_jarena_chars(&p->t->arena, s->size + p->tok->size + 1, p->err);
        if (d == NULL)
            return gf_jparse_spent(p);
        memcpy(d, s->data, s->size);
        memcpy(d + s->size, p->tok->text, p->tok->size);
        s->data = d;
        s->size += p->tok->size;
    }
    n->value = (gf_jval){.kind = GF_J_STR, .s = s};
    return GF_OK;
}

static gf_status parse_name(gf_jparser *p, gf_jnode *n)
{
    const gf_jstr *s;
    TRY(gf_jparse_expect_name(p, &s));
    const gf_jval v = {.kind = GF_J_STR, .s = s};
    const bool yes = gf_jval_str_is(v, "true") || gf_jval_str_is(v, "True");
    if (yes || gf_jval_str_is(v, "false") || gf_jval_str_is(v, "False")) {
        n->value = gf_jval_bool(yes);
    } else if (gf_jval_str_is(v, "none") || gf_jval_str_is(v, "None")) {
        n->value = gf_jval_none();
    } else {
        n->kind = GF_JN_NAME;
        n->name = s;
        if (p->params != NULL) {
            p->params->uses_caller |= gf_jval_str_is(v, "caller");
            p->params->uses_varargs |= gf_jval_str_is(v, "varargs");
            p->params->uses_kwargs |= gf_jval_str_is(v, "kwargs");
        }
    }
    return GF_OK;
}

gf_status gf_jparse_primary(gf_jparser *p, gf_jnode **out)
{
    const gf_jtoken *t = p->tok;
    if (t->kind == GF_JT_OP && t->op == '[')
        return parse_list(p, out);
    if (t->kind == GF_JT_OP && t->op == '{')
        return parse_dict(p, out);
    if (t->kind == GF_JT_OP && t->op == '(') {
        p->tok++;
        TRY(gf_jparse_tuple(p, true, true, NULL, out));
        return gf_jparse_expect_op(p, ')');
    }
    GF_JNODE(n, GF_JN_CONST);
    *out = n;
    switch (t->kind) {
    case GF_JT_NAME:
        return parse_name(p, n);
    case GF_JT_STRING:
        return parse_string(p, n);
    case GF_JT_INT:
        n->value = gf_jval_int(t->i);
        break;
    case GF_JT_FLOAT:
        n->value = gf_jval_float(t->f);
        break;
    default:
        return gf_jparse_fail(p, "expected an expression");
    }
    p->tok++;
    return GF_OK;
}

/* What stands between [ and ]: an index, or start:stop:step. */
static gf_status parse_subscript(gf_jparser *p, gf_jnode *a, gf_jnode **out)
{
    GF_JNODE(n, GF_JN_ITEM);
    p->tok++;
    n->a = a;
    gf_jnode **part[] = {&n->b, &n->c, &n->d};
    for (int i = 0; i < 3; i++) {
        if (p->tok->kind != GF_JT_OP || (p->tok->op != ':' && p->tok->op != ']')) {
            TRY(gf_jparse_expression(p, true, part[i]));
            TRY(gf_jnode_adopt(p, n, *part[i]));
        }
        if (i == 2 || !gf_jparse_op(p, ':'))
            break;
        n->kind = GF_JN_SLICE;
    }
    if (n->kind == GF_JN_ITEM && n->b == NULL)
        return gf_jparse_fail(p, "expected a subscript");
    *out = n;
    TRY(gf_jnode_adopt(p, n, a));
    return gf_jparse_expect_op(p, ']');
}

static gf_status parse_dot(gf_jparser *p, gf_jnode *a, gf_jnode **out)
{
    GF_JNODE(n, GF_JN_ATTRIBUTE);
    p->tok++;
    n->a = a;
    *out = n;
    TRY(gf_jnode_adopt(p, n, a));
    if (p->tok->kind == GF_JT_NAME)
        return gf_jparse_expect_name(p, &n->name);
    if (p->tok->kind != GF_JT_INT)
        return gf_jparse_fail(p, "expected a name or a number after '.'");
    n->kind = GF_JN_ITEM;
    return gf_jparse_primary(p, &n->b);
}

gf_status gf_jparse_call(gf_jparser *p, gf_jnode *a, gf_jnode **out)
{
    GF_JNODE(n, GF_JN_CALL);
    n->a = a;
    *out = n;
    TRY(gf_jnode_adopt(p, n, a));
    return parse_arguments(p, n);
}

gf_status gf_jparse_postfix(gf_jparser *p, gf_jnode **node)
{
    while (p->tok->kind == GF_JT_OP) {
        if (p->tok->op == '.')
            TRY(parse_dot(p, *node, node));
        else if (p->tok->op == '[')
            TRY(parse_subscript(p, *node, node));
        else if (p->tok->op == '(')
            TRY(gf_jparse_call(p, *node, node));
        else
            break;
    }
    return GF_OK;
}

gf_status gf_jparse_filter(gf_jparser *p, bool first, gf_jnode **node)
{
    while (first || gf_jparse_op(p, '|')) {
        first = false;
        GF_JNODE(n, GF_JN_FILTER);
        n->a = *node;
        *node = n;
        TRY(gf_jnode_adopt(p, n, n->a));
        TRY(gf_jparse_expect_name(p, &n->name));
        n->filter = gf_jfilter_find(n->name->data, n->name->size);
        if (p->tok->kind == GF_JT_OP && p->tok->op == '(')
            TRY(parse_arguments(p, n));
    }
    return GF_OK;
}

/* An argument without parentheses: `x is divisibleby 3`. */
static bool at_test_argument(const gf_jparser *p)
{
    switch (p->tok->kind) {
    case GF_JT_STRING:
    case GF_JT_INT:
    case GF_JT_FLOAT:
        return true;
    case GF_JT_NAME:
        return !gf_jparse_at_name(p, "else") && !gf_jparse_at_name(p, "or") &&
               !gf_jparse_at_name(p, "and");
    case GF_JT_OP:
        return p->tok->op == '[' || p->tok->op == '{';
    default:
        return false;
    }
}

gf_status gf_jparse_test(gf_jparser *p, gf_jnode **node)
{
    GF_JNODE(n, GF_JN_TEST);
    p->tok++;
    const bool negated = gf_jparse_name(p, "not");
    n->a = *node;
    TRY(gf_jnode_adopt(p, n, n->a));
    TRY(gf_jparse_expect_name(p, &n->name));
    n->test = gf_jtest_find(n->name->data, n->name->size);
    if (p->tok->kind == GF_JT_OP && p->tok->op == '(') {
        TRY(parse_arguments(p, n));
    } else if (at_test_argument(p)) {
        if (gf_jparse_at_name(p, "is"))
            return gf_jparse_fail(p, "tests cannot be chained with 'is'");
        gf_jargs *args = gf_jarena_object(&p->t->arena, 1, sizeof *args, p->err);
        if (args == NULL)
            return gf_jparse_spent(p);
        gf_jnodes l = {0};
        gf_jnode *arg;
        TRY(gf_jparse_primary(p, &arg));
        TRY(gf_jparse_postfix(p, &arg));
        TRY(gf_jnode_adopt(p, n, arg));
        TRY(gf_jnodes_add(p, &l, arg));
        args->pos = l.item;
        args->count = 1;
        n->args = args;
    }
    *node = n;
    if (negated) {
        GF_JNODE(not, GF_JN_NOT);
        not ->a = n;
        *node = not ;
        return gf_jnode_adopt(p, not, n);
    }
    return GF_OK;
}
