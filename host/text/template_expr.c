/* The grammar of expressions; precedence from loose to tight: if-else, or, and, not, comparison,
 * + -, ~, * / // %, **, unary with postfix and filters. */
#include "text/template_ast.h"

#include <string.h>

static const int max_nesting = 200; /* the contract's depth; real templates have below 20 */
static const int max_height = 1000; /* terms in one chain of operators */

#define NODE(n, kind)                                                                              \
    gf_jnode *const n = gf_jnode_new(p, (kind));                                                   \
    do {                                                                                           \
        if (n == NULL)                                                                             \
            return gf_jparse_spent(p);                                                             \
    } while (0)

/* Counts a child into the node's height. */
static gf_status adopt(gf_jparser *p, gf_jnode *n, const gf_jnode *child)
{
    if (child != NULL && child->height >= n->height)
        n->height = child->height + 1;
    return n->height > max_height ? gf_jparse_fail(p, "an expression is too long") : GF_OK;
}

static gf_status enter(gf_jparser *p)
{
    return ++p->depth > max_nesting ? gf_jparse_fail(p, "expressions nest too deeply") : GF_OK;
}

/* Hands a list over to a node. */
static gf_status adopt_all(gf_jparser *p, gf_jnode *n, const gf_jnodes *l)
{
    n->item = l->item;
    n->count = l->count;
    for (size_t i = 0; i < l->count; i++)
        TRY(adopt(p, n, l->item[i]));
    return GF_OK;
}

static gf_status add_argument(gf_jparser *p, gf_jargs *args, gf_jnodes *pos, gf_jnodes *named,
                              gf_jnode *n)
{
    if (gf_jparse_op(p, '*')) {
        if (args->star != NULL || args->star_star != NULL)
            return gf_jparse_fail(p, "invalid arguments of a call");
        TRY(gf_jparse_expression(p, true, &args->star));
        return adopt(p, n, args->star);
    }
    if (gf_jparse_op(p, GF_JOP2('*', '*'))) {
        if (args->star_star != NULL)
            return gf_jparse_fail(p, "invalid arguments of a call");
        TRY(gf_jparse_expression(p, true, &args->star_star));
        return adopt(p, n, args->star_star);
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
    TRY(adopt(p, n, value));
    if (name == NULL)
        return gf_jnodes_add(p, pos, value);
    NODE(pair, GF_JN_NAME);
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
    NODE(n, GF_JN_LIST);
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
    return adopt_all(p, n, &l);
}

static gf_status parse_dict(gf_jparser *p, gf_jnode **out)
{
    NODE(n, GF_JN_DICT);
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
    return adopt_all(p, n, &l);
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

static gf_status parse_primary(gf_jparser *p, gf_jnode **out)
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
    NODE(n, GF_JN_CONST);
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
    NODE(n, GF_JN_ITEM);
    p->tok++;
    n->a = a;
    gf_jnode **part[] = {&n->b, &n->c, &n->d};
    for (int i = 0; i < 3; i++) {
        if (p->tok->kind != GF_JT_OP || (p->tok->op != ':' && p->tok->op != ']')) {
            TRY(gf_jparse_expression(p, true, part[i]));
            TRY(adopt(p, n, *part[i]));
        }
        if (i == 2 || !gf_jparse_op(p, ':'))
            break;
        n->kind = GF_JN_SLICE;
    }
    if (n->kind == GF_JN_ITEM && n->b == NULL)
        return gf_jparse_fail(p, "expected a subscript");
    *out = n;
    TRY(adopt(p, n, a));
    return gf_jparse_expect_op(p, ']');
}

static gf_status parse_dot(gf_jparser *p, gf_jnode *a, gf_jnode **out)
{
    NODE(n, GF_JN_ATTRIBUTE);
    p->tok++;
    n->a = a;
    *out = n;
    TRY(adopt(p, n, a));
    if (p->tok->kind == GF_JT_NAME)
        return gf_jparse_expect_name(p, &n->name);
    if (p->tok->kind != GF_JT_INT)
        return gf_jparse_fail(p, "expected a name or a number after '.'");
    n->kind = GF_JN_ITEM;
    return parse_primary(p, &n->b);
}

static gf_status parse_call(gf_jparser *p, gf_jnode *a, gf_jnode **out)
{
    NODE(n, GF_JN_CALL);
    n->a = a;
    *out = n;
    TRY(adopt(p, n, a));
    return parse_arguments(p, n);
}

static gf_status parse_postfix(gf_jparser *p, gf_jnode **node)
{
    while (p->tok->kind == GF_JT_OP) {
        if (p->tok->op == '.')
            TRY(parse_dot(p, *node, node));
        else if (p->tok->op == '[')
            TRY(parse_subscript(p, *node, node));
        else if (p->tok->op == '(')
            TRY(parse_call(p, *node, node));
        else
            break;
    }
    return GF_OK;
}

gf_status gf_jparse_filter(gf_jparser *p, bool first, gf_jnode **node)
{
    while (first || gf_jparse_op(p, '|')) {
        first = false;
        NODE(n, GF_JN_FILTER);
        n->a = *node;
        *node = n;
        TRY(adopt(p, n, n->a));
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

static gf_status parse_test(gf_jparser *p, gf_jnode **node)
{
    NODE(n, GF_JN_TEST);
    p->tok++;
    const bool negated = gf_jparse_name(p, "not");
    n->a = *node;
    TRY(adopt(p, n, n->a));
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
        TRY(parse_primary(p, &arg));
        TRY(parse_postfix(p, &arg));
        TRY(adopt(p, n, arg));
        TRY(gf_jnodes_add(p, &l, arg));
        args->pos = l.item;
        args->count = 1;
        n->args = args;
    }
    *node = n;
    if (negated) {
        NODE(not, GF_JN_NOT);
        not ->a = n;
        *node = not ;
        return adopt(p, not, n);
    }
    return GF_OK;
}

static gf_status parse_unary(gf_jparser *p, bool filters, gf_jnode **out)
{
    if (p->tok->kind == GF_JT_OP && (p->tok->op == '-' || p->tok->op == '+')) {
        NODE(n, GF_JN_ARITH);
        n->op = p->tok->op == '-' ? 'n' : 'p';
        p->tok++;
        TRY(enter(p));
        TRY(parse_unary(p, false, &n->a));
        p->depth--;
        TRY(adopt(p, n, n->a));
        *out = n;
    } else {
        TRY(parse_primary(p, out));
    }
    TRY(parse_postfix(p, out));
    while (filters) {
        if (p->tok->kind == GF_JT_OP && p->tok->op == '|')
            TRY(gf_jparse_filter(p, false, out));
        else if (gf_jparse_at_name(p, "is"))
            TRY(parse_test(p, out));
        else if (p->tok->kind == GF_JT_OP && p->tok->op == '(')
            TRY(parse_call(p, *out, out));
        else
            break;
    }
    return GF_OK;
}

static gf_status parse_arith(gf_jparser *p, int level, gf_jnode **out);

/* The operand of a level: 0 is + and -, then ~, then * / // %, then **. */
static gf_status parse_operand(gf_jparser *p, int level, gf_jnode **out)
{
    return level == 3 ? parse_unary(p, true, out) : parse_arith(p, level + 1, out);
}

static bool level_has(int level, const gf_jtoken *t)
{
    if (t->kind != GF_JT_OP)
        return false;
    switch (level) {
    case 0:
        return t->op == '+' || t->op == '-';
    case 1:
        return t->op == '~';
    case 2:
        return t->op == '*' || t->op == '/' || t->op == '%' || t->op == GF_JOP2('/', '/');
    default:
        return t->op == GF_JOP2('*', '*');
    }
}

static gf_status parse_concat(gf_jparser *p, gf_jnode **out)
{
    gf_jnodes l = {0};
    TRY(gf_jnodes_add(p, &l, *out));
    while (gf_jparse_op(p, '~')) {
        gf_jnode *e;
        TRY(parse_operand(p, 1, &e));
        TRY(gf_jnodes_add(p, &l, e));
    }
    NODE(n, GF_JN_CONCAT);
    *out = n;
    return adopt_all(p, n, &l);
}

static gf_status parse_arith(gf_jparser *p, int level, gf_jnode **out)
{
    TRY(parse_operand(p, level, out));
    if (level == 1)
        return level_has(level, p->tok) ? parse_concat(p, out) : GF_OK;
    while (level_has(level, p->tok)) {
        NODE(n, GF_JN_ARITH);
        n->op = p->tok->op;
        n->a = *out;
        p->tok++;
        TRY(parse_operand(p, level, &n->b));
        TRY(adopt(p, n, n->a));
        TRY(adopt(p, n, n->b));
        *out = n;
    }
    return GF_OK;
}

/* The comparison operator that is next, or 0. */
static int take_comparison(gf_jparser *p)
{
    const gf_jtoken *t = p->tok;
    if (t->kind == GF_JT_OP &&
        (t->op == '<' || t->op == '>' || t->op == GF_JOP2('=', '=') || t->op == GF_JOP2('!', '=') ||
         t->op == GF_JOP2('<', '=') || t->op == GF_JOP2('>', '='))) {
        p->tok++;
        return t->op;
    }
    if (gf_jparse_name(p, "in"))
        return 'i';
    if (gf_jparse_at_name(p, "not") && t[1].kind == GF_JT_NAME && t[1].size == 2 &&
        memcmp(t[1].text, "in", 2) == 0) {
        p->tok += 2;
        return 'x';
    }
    return 0;
}

static gf_status parse_compare(gf_jparser *p, gf_jnode **out)
{
    TRY(parse_arith(p, 0, out));
    int op = take_comparison(p);
    if (op == 0)
        return GF_OK;
    gf_jnodes l = {0}, ops = {0};
    TRY(gf_jnodes_add(p, &l, *out));
    for (; op != 0; op = take_comparison(p)) {
        NODE(o, GF_JN_CONST);
        o->op = op;
        TRY(gf_jnodes_add(p, &ops, o));
        TRY(parse_arith(p, 0, out));
        TRY(gf_jnodes_add(p, &l, *out));
    }
    NODE(n, GF_JN_COMPARE);
    n->ops = gf_jarena_object(&p->t->arena, ops.count, sizeof *n->ops, p->err);
    if (n->ops == NULL)
        return gf_jparse_spent(p);
    for (size_t i = 0; i < ops.count; i++)
        n->ops[i] = ops.item[i]->op;
    *out = n;
    return adopt_all(p, n, &l);
}

static gf_status parse_not(gf_jparser *p, gf_jnode **out)
{
    if (!gf_jparse_name(p, "not"))
        return parse_compare(p, out);
    NODE(n, GF_JN_NOT);
    TRY(enter(p));
    TRY(parse_not(p, &n->a));
    p->depth--;
    *out = n;
    return adopt(p, n, n->a);
}

/* and, or: `level` 0 is or. */
static gf_status parse_logic(gf_jparser *p, int level, gf_jnode **out)
{
    TRY(level == 0 ? parse_logic(p, 1, out) : parse_not(p, out));
    const char *word = level == 0 ? "or" : "and";
    if (!gf_jparse_at_name(p, word))
        return GF_OK;
    gf_jnodes l = {0};
    TRY(gf_jnodes_add(p, &l, *out));
    while (gf_jparse_name(p, word)) {
        TRY(level == 0 ? parse_logic(p, 1, out) : parse_not(p, out));
        TRY(gf_jnodes_add(p, &l, *out));
    }
    NODE(n, level == 0 ? GF_JN_OR : GF_JN_AND);
    *out = n;
    return adopt_all(p, n, &l);
}

gf_status gf_jparse_expression(gf_jparser *p, bool conditional, gf_jnode **out)
{
    TRY(enter(p));
    TRY(parse_logic(p, 0, out));
    while (conditional && gf_jparse_name(p, "if")) {
        NODE(n, GF_JN_COND);
        n->b = *out;
        TRY(parse_logic(p, 0, &n->a));
        if (gf_jparse_name(p, "else"))
            TRY(gf_jparse_expression(p, true, &n->c));
        TRY(adopt(p, n, n->a));
        TRY(adopt(p, n, n->b));
        TRY(adopt(p, n, n->c));
        *out = n;
    }
    p->depth--;
    return GF_OK;
}

static bool at_tuple_end(const gf_jparser *p, const char *end)
{
    return p->tok->kind == GF_JT_PRINT_END || p->tok->kind == GF_JT_BLOCK_END ||
           (p->tok->kind == GF_JT_OP && p->tok->op == ')') ||
           (end != NULL && gf_jparse_at_name(p, end));
}

gf_status gf_jparse_tuple(gf_jparser *p, bool conditional, bool parens, const char *end,
                          gf_jnode **out)
{
    gf_jnodes l = {0};
    bool comma = false;
    while (!at_tuple_end(p, end)) {
        gf_jnode *e;
        TRY(gf_jparse_expression(p, conditional, &e));
        TRY(gf_jnodes_add(p, &l, e));
        if (!gf_jparse_op(p, ','))
            break;
        comma = true;
    }
    if (!comma && l.count == 1) {
        *out = l.item[0];
        return GF_OK;
    }
    if (l.count == 0 && !parens)
        return gf_jparse_fail(p, "expected an expression");
    NODE(n, GF_JN_TUPLE);
    *out = n;
    return adopt_all(p, n, &l);
}

static gf_status parse_target_item(gf_jparser *p, bool member, gf_jnode **out)
{
    if (p->tok->kind == GF_JT_OP && p->tok->op == '(') {
        p->tok++;
        TRY(enter(p));
        TRY(gf_jparse_target(p, member, out));
        p->depth--;
        return gf_jparse_expect_op(p, ')');
    }
    TRY(parse_primary(p, out));
    if ((*out)->kind != GF_JN_NAME)
        return gf_jparse_fail(p, "cannot assign to this");
    if (member && gf_jparse_op(p, '.')) {
        const gf_jstr *name;
        TRY(gf_jparse_expect_name(p, &name));
        (*out)->kind = GF_JN_SET_MEMBER;
        (*out)->value = (gf_jval){.kind = GF_J_STR, .s = name};
    }
    return GF_OK;
}

gf_status gf_jparse_target(gf_jparser *p, bool member, gf_jnode **out)
{
    TRY(parse_target_item(p, member, out));
    if (p->tok->kind != GF_JT_OP || p->tok->op != ',')
        return GF_OK;
    gf_jnodes l = {0};
    TRY(gf_jnodes_add(p, &l, *out));
    while (gf_jparse_op(p, ',')) {
        if (p->tok->kind != GF_JT_NAME && !(p->tok->kind == GF_JT_OP && p->tok->op == '('))
            break; /* a trailing comma */
        if (gf_jparse_at_name(p, "in"))
            break;
        TRY(parse_target_item(p, member, out));
        TRY(gf_jnodes_add(p, &l, *out));
    }
    NODE(n, GF_JN_TUPLE);
    *out = n;
    return adopt_all(p, n, &l);
}
