/* The grammar of expressions; precedence from loose to tight: if-else, or, and, not, comparison,
 * + -, ~, * / // %, **, unary with postfix and filters. */
#include "text/template/ast.h"

#include <string.h>

static const int max_nesting = 200; /* the contract's depth; real templates have below 20 */
static const int max_height = 1000; /* terms in one chain of operators */

/* Counts a child into the node's height. */
gf_status gf_jnode_adopt(gf_jparser *p, gf_jnode *n, const gf_jnode *child)
{
    if (child != NULL && child->height >= n->height)
        n->height = child->height + 1;
    return n->height > max_height ? gf_jparse_fail(p, "an expression is too long") : GF_OK;
}

gf_status gf_jparse_enter(gf_jparser *p)
{
    return ++p->depth > max_nesting ? gf_jparse_fail(p, "expressions nest too deeply") : GF_OK;
}

/* Hands a list over to a node. */
gf_status gf_jnode_adopt_all(gf_jparser *p, gf_jnode *n, const gf_jnodes *l)
{
    n->item = l->item;
    n->count = l->count;
    for (size_t i = 0; i < l->count; i++)
        TRY(gf_jnode_adopt(p, n, l->item[i]));
    return GF_OK;
}

static gf_status parse_unary(gf_jparser *p, bool filters, gf_jnode **out)
{
    if (p->tok->kind == GF_JT_OP && (p->tok->op == '-' || p->tok->op == '+')) {
        GF_JNODE(n, GF_JN_ARITH);
        n->op = p->tok->op == '-' ? 'n' : 'p';
        p->tok++;
        TRY(gf_jparse_enter(p));
        TRY(parse_unary(p, false, &n->a));
        p->depth--;
        TRY(gf_jnode_adopt(p, n, n->a));
        *out = n;
    } else {
        TRY(gf_jparse_primary(p, out));
    }
    TRY(gf_jparse_postfix(p, out));
    while (filters) {
        if (p->tok->kind == GF_JT_OP && p->tok->op == '|')
            TRY(gf_jparse_filter(p, false, out));
        else if (gf_jparse_at_name(p, "is"))
            TRY(gf_jparse_test(p, out));
        else if (p->tok->kind == GF_JT_OP && p->tok->op == '(')
            TRY(gf_jparse_call(p, *out, out));
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
    GF_JNODE(n, GF_JN_CONCAT);
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}

static gf_status parse_arith(gf_jparser *p, int level, gf_jnode **out)
{
    TRY(parse_operand(p, level, out));
    if (level == 1)
        return level_has(level, p->tok) ? parse_concat(p, out) : GF_OK;
    while (level_has(level, p->tok)) {
        GF_JNODE(n, GF_JN_ARITH);
        n->op = p->tok->op;
        n->a = *out;
        p->tok++;
        TRY(parse_operand(p, level, &n->b));
        TRY(gf_jnode_adopt(p, n, n->a));
        TRY(gf_jnode_adopt(p, n, n->b));
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
        GF_JNODE(o, GF_JN_CONST);
        o->op = op;
        TRY(gf_jnodes_add(p, &ops, o));
        TRY(parse_arith(p, 0, out));
        TRY(gf_jnodes_add(p, &l, *out));
    }
    GF_JNODE(n, GF_JN_COMPARE);
    n->ops = gf_jarena_object(&p->t->arena, ops.count, sizeof *n->ops, p->err);
    if (n->ops == NULL)
        return gf_jparse_spent(p);
    for (size_t i = 0; i < ops.count; i++)
        n->ops[i] = ops.item[i]->op;
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}

static gf_status parse_not(gf_jparser *p, gf_jnode **out)
{
    if (!gf_jparse_name(p, "not"))
        return parse_compare(p, out);
    GF_JNODE(n, GF_JN_NOT);
    TRY(gf_jparse_enter(p));
    TRY(parse_not(p, &n->a));
    p->depth--;
    *out = n;
    return gf_jnode_adopt(p, n, n->a);
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
    GF_JNODE(n, level == 0 ? GF_JN_OR : GF_JN_AND);
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}

gf_status gf_jparse_expression(gf_jparser *p, bool conditional, gf_jnode **out)
{
    TRY(gf_jparse_enter(p));
    TRY(parse_logic(p, 0, out));
    while (conditional && gf_jparse_name(p, "if")) {
        GF_JNODE(n, GF_JN_COND);
        n->b = *out;
        TRY(parse_logic(p, 0, &n->a));
        if (gf_jparse_name(p, "else"))
            TRY(gf_jparse_expression(p, true, &n->c));
        TRY(gf_jnode_adopt(p, n, n->a));
        TRY(gf_jnode_adopt(p, n, n->b));
        TRY(gf_jnode_adopt(p, n, n->c));
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
    GF_JNODE(n, GF_JN_TUPLE);
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}

static gf_status parse_target_item(gf_jparser *p, bool member, gf_jnode **out)
{
    if (p->tok->kind == GF_JT_OP && p->tok->op == '(') {
        p->tok++;
        TRY(gf_jparse_enter(p));
        TRY(gf_jparse_target(p, member, out));
        p->depth--;
        return gf_jparse_expect_op(p, ')');
    }
    TRY(gf_jparse_primary(p, out));
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
    GF_JNODE(n, GF_JN_TUPLE);
    *out = n;
    return gf_jnode_adopt_all(p, n, &l);
}
