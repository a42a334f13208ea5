/* Statements and scopes. */
#include "text/template/exec.h"

#include <string.h>

/* How a statement ends: in order, or by break or continue. */
typedef enum { NEXT, BREAK, CONTINUE } flow;

gf_jframe *gf_jframe_new(gf_jrun *r, gf_jframe *parent)
{
    gf_jframe *f = gf_jarena_object(&r->arena, 1, sizeof *f, r->err);
    if (f != NULL)
        f->parent = parent;
    return f;
}

gf_jval *gf_jframe_find(gf_jframe *f, const gf_jstr *name)
{
    for (; f != NULL; f = f->parent)
        for (size_t i = 0; i < f->count; i++)
            if (f->name[i] == name)
                return &f->value[i];
    return NULL;
}

gf_status gf_jframe_set(gf_jrun *r, gf_jframe *f, const gf_jstr *name, gf_jval v)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->name[i] == name) {
            f->value[i] = v;
            return GF_OK;
        }
    if (f->count == f->cap) {
        const size_t cap = f->cap == 0 ? 4 : f->cap * 2;
        const gf_jstr **names = gf_jarena_object(&r->arena, cap, sizeof *names, r->err);
        gf_jval *values = gf_jarena_object(&r->arena, cap, sizeof *values, r->err);
        if (names == NULL || values == NULL)
            return gf_jrun_spent(r);
        if (f->count > 0) {
            memcpy(names, f->name, f->count * sizeof *names);
            memcpy(values, f->value, f->count * sizeof *values);
        }
        f->name = names;
        f->value = values;
        f->cap = cap;
    }
    f->name[f->count] = name;
    f->value[f->count++] = v;
    return GF_OK;
}

/* namespace.attribute = v */
static gf_status set_member(gf_jrun *r, gf_jframe *f, const gf_jnode *target, gf_jval v)
{
    const gf_jval *ns = gf_jframe_find(f, target->name);
    r->line = target->line;
    if (ns == NULL || ns->kind != GF_J_NAMESPACE)
        return gf_jrun_fail(r, "cannot assign attribute on non-namespace object '%.*s'",
                            (int)target->name->size, target->name->data);
    return gf_jdict_set(r, ns->d, target->value, v);
}

static gf_status assign(gf_jrun *r, gf_jframe *f, const gf_jnode *target, gf_jval v)
{
    if (target->kind == GF_JN_NAME)
        return gf_jframe_set(r, f, target->name, v);
    if (target->kind == GF_JN_SET_MEMBER)
        return set_member(r, f, target, v);
    r->line = target->line;
    gf_jlist *l;
    if (v.kind == GF_J_UNDEFINED)
        return gf_jrun_fail(r, "cannot unpack an undefined value");
    TRY(gf_jval_elements(r, v, false, &l));
    if (l->count != target->count)
        return gf_jrun_fail(r, "cannot unpack %zu values into %zu names", l->count, target->count);
    for (size_t i = 0; i < target->count; i++)
        TRY(assign(r, f, target->item[i], l->item[i]));
    return GF_OK;
}

static gf_status exec_list(gf_jrun *r, gf_jframe *f, const gf_jnode *body, flow *how);

static gf_status exec_if(gf_jrun *r, gf_jframe *f, const gf_jnode *n, flow *how)
{
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        gf_jval test;
        TRY(gf_jeval(r, f, n->item[i], &test));
        if (gf_jval_truth(test))
            return exec_list(r, f, n->item[i + 1], how);
    }
    return n->b != NULL ? exec_list(r, f, n->b, how) : GF_OK;
}

/* The elements that pass the loop's own `if`. */
static gf_status loop_filter(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jlist **items)
{
    gf_jlist *kept = gf_jlist_new(r, 0);
    gf_jframe *inner = gf_jframe_new(r, f);
    if (kept == NULL || inner == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i < (*items)->count; i++) {
        gf_jval test;
        TRY(assign(r, inner, n->a, (*items)->item[i]));
        TRY(gf_jeval(r, inner, n->c, &test));
        if (gf_jval_truth(test))
            TRY(gf_jlist_add(r, kept, (*items)->item[i]));
    }
    *items = kept;
    return GF_OK;
}

static gf_status loop_items(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jlist **items)
{
    gf_jval v;
    TRY(gf_jeval(r, f, n->b, &v));
    r->line = n->line;
    TRY(gf_jval_elements(r, v, v.kind == GF_J_LIST, items)); /* a list may change in the loop */
    return n->c != NULL ? loop_filter(r, f, n, items) : GF_OK;
}

static gf_status exec_for(gf_jrun *r, gf_jframe *f, const gf_jnode *n)
{
    gf_jlist *items;
    TRY(loop_items(r, f, n, &items));
    flow how = NEXT;
    if (items->count == 0) {
        gf_jframe *inner = gf_jframe_new(r, f);
        if (inner == NULL)
            return gf_jrun_spent(r);
        return n->d != NULL ? exec_list(r, inner, n->d, &how) : GF_OK;
    }
    gf_jloop *loop = gf_jarena_object(&r->arena, 1, sizeof *loop, r->err);
    if (loop == NULL)
        return gf_jrun_spent(r);
    loop->items = items;
    gf_jframe *inner = NULL;
    for (size_t i = 0; i < items->count && how != BREAK; i++) {
        TRY(gf_jrun_step(r, 1));
        if (inner == NULL || inner->captured) {
            inner = gf_jframe_new(r, f);
            if (inner == NULL)
                return gf_jrun_spent(r);
        }
        inner->count = 0;
        loop->index0 = i;
        if (r->loop_name != NULL)
            TRY(gf_jframe_set(r, inner, r->loop_name, (gf_jval){.kind = GF_J_LOOP, .loop = loop}));
        TRY(assign(r, inner, n->a, items->item[i]));
        how = NEXT;
        TRY(exec_list(r, inner, n->body, &how));
    }
    return GF_OK;
}

gf_status gf_jexec_capture(gf_jrun *r, gf_jframe *f, const gf_jnode *body, gf_jval *out)
{
    gf_buf captured = {0};
    gf_buf *const outer = r->out;
    r->out = &captured;
    const gf_status st = gf_jexec_body(r, f, body);
    r->out = outer;
    if (st != GF_OK) {
        gf_buf_free(&captured);
        return st;
    }
    return gf_jval_buf(r, &captured, false, out);
}

/* A body in a scope of its own, as a string, through a filter if there is one. */
static gf_status captured_block(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jframe *inner = gf_jframe_new(r, f);
    if (inner == NULL)
        return gf_jrun_spent(r);
    TRY(gf_jexec_capture(r, inner, n->body, out));
    if (n->b == NULL)
        return GF_OK;
    const gf_jval text = *out;
    return gf_jeval_filter(r, f, n->b, &text, out);
}

static void capture_frames(gf_jframe *f)
{
    for (; f != NULL && !f->captured; f = f->parent)
        f->captured = true;
}

static gf_status new_macro(gf_jrun *r, gf_jframe *f, const gf_jnode *n, gf_jval *out)
{
    gf_jmacro *m = gf_jarena_object(&r->arena, 1, sizeof *m, r->err);
    if (m == NULL)
        return gf_jrun_spent(r);
    *m = (gf_jmacro){.name = n->name, .params = n->params, .body = n->body, .frame = f, .of = n};
    capture_frames(f);
    *out = (gf_jval){.kind = GF_J_MACRO, .macro = m};
    return GF_OK;
}

static gf_status exec_call_block(gf_jrun *r, gf_jframe *f, const gf_jnode *n)
{
    gf_jval callee, caller, text;
    gf_jcall c;
    TRY(gf_jeval(r, f, n->a->a, &callee));
    TRY(gf_jeval_arguments(r, f, n->a->args, 1, &c));
    TRY(new_macro(r, f, n, &caller));
    c.name[c.named_count] = n->name;
    c.named[c.named_count++] = caller;
    r->line = n->line;
    TRY(gf_jeval_call(r, callee, &c, &text));
    return gf_jval_print(r, text, r->out);
}

static gf_status exec_with(gf_jrun *r, gf_jframe *f, const gf_jnode *n, flow *how)
{
    gf_jframe *inner = gf_jframe_new(r, f);
    if (inner == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; i + 1 < n->count; i += 2) {
        gf_jval v;
        TRY(gf_jeval(r, f, n->item[i + 1], &v)); /* values see the scope outside */
        TRY(assign(r, inner, n->item[i], v));
    }
    return exec_list(r, inner, n->body, how);
}

static gf_status exec_scope(gf_jrun *r, gf_jframe *f, const gf_jnode *n, flow *how)
{
    gf_jframe *inner = gf_jframe_new(r, f);
    return inner == NULL ? gf_jrun_spent(r) : exec_list(r, inner, n->body, how);
}

static gf_status exec(gf_jrun *r, gf_jframe *f, const gf_jnode *n, flow *how)
{
    gf_jval v;
    r->line = n->line;
    switch (n->kind) {
    case GF_JN_DATA:
        return gf_jval_print(r, n->value, r->out);
    case GF_JN_PRINT:
        TRY(gf_jeval(r, f, n->a, &v));
        return gf_jval_print(r, v, r->out);
    case GF_JN_IF:
        return exec_if(r, f, n, how);
    case GF_JN_FOR:
        return exec_for(r, f, n);
    case GF_JN_SET:
        TRY(gf_jeval(r, f, n->b, &v));
        return assign(r, f, n->a, v);
    case GF_JN_SET_BLOCK:
        TRY(captured_block(r, f, n, &v));
        return assign(r, f, n->a, v);
    case GF_JN_FILTER_BLOCK:
        TRY(captured_block(r, f, n, &v));
        return gf_jval_print(r, v, r->out);
    case GF_JN_MACRO:
        TRY(new_macro(r, f, n, &v));
        return gf_jframe_set(r, f, n->name, v);
    case GF_JN_CALL_BLOCK:
        return exec_call_block(r, f, n);
    case GF_JN_WITH:
        return exec_with(r, f, n, how);
    case GF_JN_SCOPE:
        return exec_scope(r, f, n, how);
    case GF_JN_BREAK:
        *how = BREAK;
        return GF_OK;
    case GF_JN_CONTINUE:
        *how = CONTINUE;
        return GF_OK;
    default:
        return gf_jrun_fail(r, "not a statement");
    }
}

static gf_status exec_list(gf_jrun *r, gf_jframe *f, const gf_jnode *body, flow *how)
{
    if (r->depth >= 2000) /* as for expressions */
        return gf_jrun_fail(r, "the template recurses too deeply");
    r->depth++;
    gf_status st = GF_OK;
    for (size_t i = 0; i < body->count && st == GF_OK && *how == NEXT; i++) {
        st = gf_jrun_step(r, 1);
        if (st == GF_OK)
            st = exec(r, f, body->item[i], how);
    }
    r->depth--;
    return st;
}

gf_status gf_jexec_body(gf_jrun *r, gf_jframe *f, const gf_jnode *body)
{
    flow how = NEXT;
    return exec_list(r, f, body, &how);
}
