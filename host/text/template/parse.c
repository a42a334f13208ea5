/* The grammar of statements. */
#include "text/template/ast.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

gf_status gf_jparse_fail(const gf_jparser *p, const char *fmt, ...)
{
    char what[300]; /* a sentence with a name in it */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return gf_fail(p->err, GF_EINPUT, "%s:%d: %s", p->t->where, p->tok->line, what);
}

gf_status gf_jparse_spent(const gf_jparser *p)
{
    return p->err != NULL && p->err->code != GF_OK ? p->err->code : GF_ENOMEM;
}

gf_jnode *gf_jnode_new(gf_jparser *p, gf_jnode_kind kind)
{
    gf_jnode *n = gf_jarena_object(&p->t->arena, 1, sizeof *n, p->err);
    if (n != NULL) {
        n->kind = kind;
        n->line = p->tok->line;
    }
    return n;
}

gf_status gf_jnodes_add(gf_jparser *p, gf_jnodes *l, gf_jnode *n)
{
    if (l->count == l->cap) {
        const size_t cap = l->cap == 0 ? 4 : l->cap * 2;
        gf_jnode **item = gf_jarena_object(&p->t->arena, cap, sizeof(gf_jnode *), p->err);
        if (item == NULL)
            return gf_jparse_spent(p);
        if (l->count > 0)
            memcpy(item, l->item, l->count * sizeof(gf_jnode *));
        l->item = item;
        l->cap = cap;
    }
    l->item[l->count++] = n;
    return GF_OK;
}

gf_status gf_jname_intern(struct gf_template *t, const char *s, size_t n, const gf_jstr **out,
                          gf_err *err)
{
    for (size_t i = 0; i < t->name_count; i++)
        if (t->name[i]->size == n && memcmp(t->name[i]->data, s, n) == 0) {
            *out = t->name[i];
            return GF_OK;
        }
    gf_jstr *name = gf_jarena_object(&t->arena, 1, sizeof *name, err);
    char *text = gf_jarena_chars(&t->arena, n + 1, err);
    if (name == NULL || text == NULL)
        return err != NULL && err->code != GF_OK ? err->code : GF_ENOMEM;
    memcpy(text, s, n);
    text[n] = '\0';
    name->data = text;
    name->size = n;
    if (t->name_count == t->name_cap) {
        const size_t cap = t->name_cap == 0 ? 64 : t->name_cap * 2; /* real templates: below 100 */
        const gf_jstr **grown = gf_realloc(t->name, cap, sizeof *grown, err);
        if (grown == NULL)
            return GF_ENOMEM;
        t->name = grown;
        t->name_cap = cap;
    }
    t->name[t->name_count++] = *out = name;
    return GF_OK;
}

bool gf_jparse_op(gf_jparser *p, int op)
{
    if (p->tok->kind != GF_JT_OP || p->tok->op != op)
        return false;
    p->tok++;
    return true;
}

gf_status gf_jparse_expect_op(gf_jparser *p, int op)
{
    if (gf_jparse_op(p, op))
        return GF_OK;
    return gf_jparse_fail(p, "expected '%c'", op & 0xff);
}

bool gf_jparse_at_name(const gf_jparser *p, const char *name)
{
    return p->tok->kind == GF_JT_NAME && p->tok->size == strlen(name) &&
           memcmp(p->tok->text, name, p->tok->size) == 0;
}

bool gf_jparse_name(gf_jparser *p, const char *name)
{
    if (!gf_jparse_at_name(p, name))
        return false;
    p->tok++;
    return true;
}

gf_status gf_jparse_expect_name(gf_jparser *p, const gf_jstr **out)
{
    if (p->tok->kind != GF_JT_NAME)
        return gf_jparse_fail(p, "expected a name");
    TRY(gf_jname_intern(p->t, p->tok->text, p->tok->size, out, p->err));
    p->tok++;
    return GF_OK;
}

static gf_status expect_block_end(gf_jparser *p)
{
    if (p->tok->kind != GF_JT_BLOCK_END)
        return gf_jparse_fail(p, "expected the end of the tag");
    p->tok++;
    return GF_OK;
}

static gf_status parse_statement(gf_jparser *p, gf_jnodes *into);

static bool at_one_of(const gf_jparser *p, const char *const *ends)
{
    for (; *ends != NULL; ends++)
        if (gf_jparse_at_name(p, *ends))
            return true;
    return false;
}

/* Statements until a tag with one of the names in `ends` (NULL: until the template ends), whose
 * name is then next. */
static gf_status parse_body(gf_jparser *p, const char *const *ends, gf_jnode **out)
{
    const int start = p->tok->line;
    GF_JNODE(body, GF_JN_BODY);
    gf_jnodes l = {0};
    if (++p->depth > 200) /* the contract's depth */
        return gf_jparse_fail(p, "blocks nest too deeply");
    for (;;) {
        if (p->tok->kind == GF_JT_EOF) {
            if (ends != NULL)
                return gf_jparse_fail(p, "the block that begins in line %d is not closed: no %s",
                                      start, ends[0]);
            break;
        }
        if (p->tok->kind == GF_JT_DATA) {
            GF_JNODE(n, GF_JN_DATA);
            gf_jstr *s = gf_jarena_object(&p->t->arena, 1, sizeof *s, p->err);
            if (s == NULL)
                return gf_jparse_spent(p);
            *s = (gf_jstr){.data = p->tok->text, .size = p->tok->size};
            n->value = (gf_jval){.kind = GF_J_STR, .s = s};
            p->tok++;
            TRY(gf_jnodes_add(p, &l, n));
        } else if (p->tok->kind == GF_JT_PRINT_BEGIN) {
            p->tok++;
            GF_JNODE(n, GF_JN_PRINT);
            TRY(gf_jparse_tuple(p, true, false, NULL, &n->a));
            if (p->tok->kind != GF_JT_PRINT_END)
                return gf_jparse_fail(p, "expected }}");
            p->tok++;
            TRY(gf_jnodes_add(p, &l, n));
        } else {
            p->tok++; /* the block's begin */
            if (ends != NULL && at_one_of(p, ends))
                break;
            TRY(parse_statement(p, &l));
            TRY(expect_block_end(p));
        }
    }
    p->depth--;
    body->item = l.item;
    body->count = l.count;
    *out = body;
    return GF_OK;
}

/* %} body {% end; the end's name is taken. */
static gf_status parse_block(gf_jparser *p, const char *end, gf_jnode **out)
{
    const char *const ends[] = {end, NULL};
    gf_jparse_op(p, ':');
    TRY(expect_block_end(p));
    TRY(parse_body(p, ends, out));
    p->tok++;
    return GF_OK;
}

static gf_status parse_if(gf_jparser *p, gf_jnode *n)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    gf_jnodes l = {0};
    n->kind = GF_JN_IF;
    for (;;) {
        gf_jnode *test, *body;
        TRY(gf_jparse_tuple(p, false, false, NULL, &test));
        gf_jparse_op(p, ':');
        TRY(expect_block_end(p));
        TRY(parse_body(p, ends, &body));
        TRY(gf_jnodes_add(p, &l, test));
        TRY(gf_jnodes_add(p, &l, body));
        if (gf_jparse_name(p, "elif"))
            continue;
        if (gf_jparse_name(p, "else"))
            TRY(parse_block(p, "endif", &n->b));
        else
            p->tok++; /* endif */
        break;
    }
    n->item = l.item;
    n->count = l.count;
    return GF_OK;
}

static gf_status parse_for(gf_jparser *p, gf_jnode *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    n->kind = GF_JN_FOR;
    TRY(gf_jparse_target(p, false, &n->a));
    if (!gf_jparse_name(p, "in"))
        return gf_jparse_fail(p, "expected 'in'");
    TRY(gf_jparse_tuple(p, false, false, "recursive", &n->b));
    if (gf_jparse_name(p, "if"))
        TRY(gf_jparse_expression(p, true, &n->c));
    if (gf_jparse_at_name(p, "recursive"))
        return gf_jparse_fail(p, "recursive loops are not supported");
    gf_jparse_op(p, ':');
    TRY(expect_block_end(p));
    p->loops++;
    TRY(parse_body(p, ends, &n->body));
    p->loops--;
    if (gf_jparse_name(p, "else"))
        return parse_block(p, "endfor", &n->d);
    p->tok++; /* endfor */
    return GF_OK;
}

static gf_status parse_set(gf_jparser *p, gf_jnode *n)
{
    n->kind = GF_JN_SET;
    TRY(gf_jparse_target(p, true, &n->a));
    if (gf_jparse_op(p, '='))
        return gf_jparse_tuple(p, true, false, NULL, &n->b);
    n->kind = GF_JN_SET_BLOCK;
    if (n->a->kind == GF_JN_TUPLE)
        return gf_jparse_fail(p, "expected '='");
    TRY(gf_jparse_filter(p, false, &n->b));
    return parse_block(p, "endset", &n->body);
}

/* (a, b=1) of a macro or a call block. */
static gf_status parse_params(gf_jparser *p, gf_jparams *params)
{
    gf_jnodes l = {0};
    TRY(gf_jparse_expect_op(p, '('));
    while (!gf_jparse_op(p, ')')) {
        if (l.count > 0)
            TRY(gf_jparse_expect_op(p, ','));
        GF_JNODE(n, GF_JN_NAME);
        TRY(gf_jparse_expect_name(p, &n->name));
        if (gf_jparse_op(p, '='))
            TRY(gf_jparse_expression(p, true, &n->a));
        else if (l.count > 0 && l.item[l.count - 1]->a != NULL)
            return gf_jparse_fail(p, "a parameter without default follows one with a default");
        TRY(gf_jnodes_add(p, &l, n));
    }
    params->name = gf_jarena_object(&p->t->arena, l.count + 1, sizeof *params->name, p->err);
    params->fallback = gf_jarena_object(&p->t->arena, l.count + 1, sizeof(gf_jnode *), p->err);
    if (params->name == NULL || params->fallback == NULL)
        return gf_jparse_spent(p);
    params->count = l.count;
    for (size_t i = 0; i < l.count; i++) {
        params->name[i] = l.item[i]->name;
        params->fallback[i] = l.item[i]->a;
    }
    return GF_OK;
}

/* A body that is a function of its own: break does not reach out of it. */
static gf_status parse_function(gf_jparser *p, gf_jnode *n, const char *end)
{
    gf_jparams *const outer = p->params;
    const int loops = p->loops;
    p->params = n->params;
    p->loops = 0;
    TRY(parse_block(p, end, &n->body));
    p->params = outer;
    p->loops = loops;
    /* a macro inside reads the outer one's caller */
    if (outer != NULL && n->kind != GF_JN_MACRO) {
        outer->uses_caller |= n->params->uses_caller;
        outer->uses_varargs |= n->params->uses_varargs;
        outer->uses_kwargs |= n->params->uses_kwargs;
    }
    return GF_OK;
}

static gf_status parse_macro(gf_jparser *p, gf_jnode *n, bool call)
{
    n->kind = call ? GF_JN_CALL_BLOCK : GF_JN_MACRO;
    n->params = gf_jarena_object(&p->t->arena, 1, sizeof *n->params, p->err);
    if (n->params == NULL)
        return gf_jparse_spent(p);
    if (!call)
        TRY(gf_jparse_expect_name(p, &n->name));
    if (!call || (p->tok->kind == GF_JT_OP && p->tok->op == '('))
        TRY(parse_params(p, n->params));
    if (call) {
        TRY(gf_jparse_expression(p, true, &n->a));
        if (n->a->kind != GF_JN_CALL)
            return gf_jparse_fail(p, "expected a call");
        TRY(gf_jname_intern(p->t, "caller", 6, &n->name, p->err));
    }
    return parse_function(p, n, call ? "endcall" : "endmacro");
}

static gf_status parse_with(gf_jparser *p, gf_jnode *n)
{
    gf_jnodes l = {0};
    n->kind = GF_JN_WITH;
    while (p->tok->kind != GF_JT_BLOCK_END) {
        if (l.count > 0)
            TRY(gf_jparse_expect_op(p, ','));
        gf_jnode *target, *value;
        TRY(gf_jparse_target(p, false, &target));
        TRY(gf_jparse_expect_op(p, '='));
        TRY(gf_jparse_expression(p, true, &value));
        TRY(gf_jnodes_add(p, &l, target));
        TRY(gf_jnodes_add(p, &l, value));
    }
    n->item = l.item;
    n->count = l.count;
    return parse_block(p, "endwith", &n->body);
}

static gf_status parse_loop_control(gf_jparser *p, gf_jnode *n, gf_jnode_kind kind)
{
    n->kind = kind;
    return p->loops > 0 ? GF_OK : gf_jparse_fail(p, "break or continue outside a loop");
}

static gf_status parse_print(gf_jparser *p, gf_jnodes *into)
{
    for (bool first = true; p->tok->kind != GF_JT_BLOCK_END; first = false) {
        if (!first)
            TRY(gf_jparse_expect_op(p, ','));
        GF_JNODE(n, GF_JN_PRINT);
        TRY(gf_jparse_expression(p, true, &n->a));
        TRY(gf_jnodes_add(p, into, n));
    }
    return GF_OK;
}

/* The tag's name is next; its end is left for the caller. */
static gf_status parse_statement(gf_jparser *p, gf_jnodes *into)
{
    if (p->tok->kind != GF_JT_NAME)
        return gf_jparse_fail(p, "expected the name of a tag");
    if (gf_jparse_name(p, "print"))
        return parse_print(p, into);
    GF_JNODE(n, GF_JN_SCOPE);
    TRY(gf_jnodes_add(p, into, n));
    if (gf_jparse_name(p, "if"))
        return parse_if(p, n);
    if (gf_jparse_name(p, "for"))
        return parse_for(p, n);
    if (gf_jparse_name(p, "set"))
        return parse_set(p, n);
    if (gf_jparse_name(p, "macro"))
        return parse_macro(p, n, false);
    if (gf_jparse_name(p, "call"))
        return parse_macro(p, n, true);
    if (gf_jparse_name(p, "with"))
        return parse_with(p, n);
    if (gf_jparse_name(p, "break"))
        return parse_loop_control(p, n, GF_JN_BREAK);
    if (gf_jparse_name(p, "continue"))
        return parse_loop_control(p, n, GF_JN_CONTINUE);
    if (gf_jparse_name(p, "filter")) {
        n->kind = GF_JN_FILTER_BLOCK;
        TRY(gf_jparse_filter(p, true, &n->b));
        return parse_block(p, "endfilter", &n->body);
    }
    if (gf_jparse_name(p, "generation")) {
        n->params = gf_jarena_object(&p->t->arena, 1, sizeof *n->params, p->err);
        if (n->params == NULL)
            return gf_jparse_spent(p);
        return parse_function(p, n, "endgeneration");
    }
    static const char *const outside[] = {"include", "import",     "from",  "extends", "block",
                                          "do",      "autoescape", "trans", NULL};
    if (at_one_of(p, outside))
        return gf_jparse_fail(p, "the tag '%.*s' is not supported in a chat template",
                              (int)p->tok->size, p->tok->text);
    return gf_jparse_fail(p, "unknown tag '%.*s'", p->tok->size > 40 ? 40 : (int)p->tok->size,
                          p->tok->text);
}

gf_status gf_jparse_template(struct gf_template *t, const gf_jtokens *tokens, gf_err *err)
{
    gf_jparser p = {.t = t, .tok = tokens->token, .err = err};
    return parse_body(&p, NULL, &t->body);
}
