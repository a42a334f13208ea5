#include "text/template.h"

#include "text/template/exec.h"
#include "text/template/text.h"

#include <stdlib.h>
#include <string.h>

static const size_t max_bytes = (size_t)64 << 20; /* the contract's bound of output and values */
static const int64_t max_steps = 10000000;        /* the contract's bound */

gf_status gf_template_parse(gf_template **t, const char *text, size_t size, const char *where,
                            gf_err *err)
{
    gf_jtokens tokens = {0};
    gf_template *p = gf_alloc(1, sizeof *p, err);
    if (p == NULL)
        return GF_ENOMEM;
    gf_status st = GF_ENOMEM;
    p->arena.limit = max_bytes;
    p->where = gf_strdup(where, err);
    if (p->where == NULL)
        goto out;
    TRYG(gf_jlex(&tokens, &p->arena, text, size, where, err));
    TRYG(gf_jparse_template(p, &tokens, err));
    *t = p;
    p = NULL;
out:
    free(tokens.token);
    gf_template_free(p);
    return st;
}

void gf_template_free(gf_template *t)
{
    if (t == NULL)
        return;
    gf_jarena_free(&t->arena);
    free(t->where);
    free(t->name);
    free(t);
}

static const gf_jstr *name_of(const gf_template *t, const char *s)
{
    const size_t n = strlen(s);
    for (size_t i = 0; i < t->name_count; i++)
        if (t->name[i]->size == n && memcmp(t->name[i]->data, s, n) == 0)
            return t->name[i];
    return NULL;
}

/* Variables that the template never names are left out. */
static gf_status set_json(gf_jrun *r, const gf_template *t, gf_jframe *f, const char *name,
                          const cJSON *j, bool none)
{
    const gf_jstr *n = name_of(t, name);
    if (n == NULL || (j == NULL && !none))
        return GF_OK;
    gf_jval v = gf_jval_none();
    if (j != NULL)
        TRY(gf_jval_from_json(r, j, 0, &v));
    return gf_jframe_set(r, f, n, v);
}

static gf_status set_text(gf_jrun *r, const gf_template *t, gf_jframe *f, const char *name,
                          const char *text)
{
    const gf_jstr *n = name_of(t, name);
    if (n == NULL || text == NULL)
        return GF_OK;
    gf_jval v;
    TRY(gf_jval_text(r, text, strlen(text), false, &v));
    return gf_jframe_set(r, f, n, v);
}

static gf_status set_messages(gf_jrun *r, const gf_template *t, gf_jframe *f,
                              const gf_template_vars *vars)
{
    const gf_jstr *n = name_of(t, "messages");
    gf_jlist *l = gf_jlist_new(r, 0);
    if (l == NULL)
        return gf_jrun_spent(r);
    int64_t left = vars->first_messages == 0  ? INT64_MAX
                   : vars->first_messages < 0 ? 0
                                              : vars->first_messages;
    const cJSON *e;
    cJSON_ArrayForEach(e, vars->messages)
    {
        if (n == NULL || left-- <= 0)
            break;
        gf_jval v;
        TRY(gf_jval_from_json(r, e, 0, &v));
        TRY(gf_jlist_add(r, l, v));
    }
    return n == NULL ? GF_OK : gf_jframe_set(r, f, n, gf_jval_list(GF_J_LIST, l));
}

static gf_status set_variables(gf_jrun *r, const gf_template *t, gf_jframe *f,
                               const gf_template_vars *vars)
{
    TRY(set_messages(r, t, f, vars));
    TRY(set_json(r, t, f, "tools", vars->tools, true));
    TRY(set_json(r, t, f, "documents", vars->documents, true));
    TRY(set_text(r, t, f, "bos_token", vars->bos_token));
    TRY(set_text(r, t, f, "eos_token", vars->eos_token));
    TRY(set_text(r, t, f, "pad_token", vars->pad_token));
    TRY(set_text(r, t, f, "unk_token", vars->unk_token));
    const gf_jstr *prompt = name_of(t, "add_generation_prompt");
    if (prompt != NULL)
        TRY(gf_jframe_set(r, f, prompt, gf_jval_bool(vars->add_generation_prompt)));
    const cJSON *e;
    cJSON_ArrayForEach(e, vars->extra)
    {
        if (e->string != NULL)
            TRY(set_json(r, t, f, e->string, e, true));
    }
    return GF_OK;
}

gf_status gf_template_render(const gf_template *t, const gf_template_vars *vars, gf_buf *out,
                             gf_err *err)
{
    gf_err own = {0}; /* so that what ran out is known even if the caller wants no text */
    gf_buf text = {0};
    gf_jrun r = {.arena = {.limit = max_bytes},
                 .steps = max_steps,
                 .line = 1,
                 .where = t->where,
                 .out = &text,
                 .err = &own,
                 .loop_name = name_of(t, "loop"),
                 .caller_name = name_of(t, "caller"),
                 .varargs_name = name_of(t, "varargs"),
                 .kwargs_name = name_of(t, "kwargs")};
    gf_status st = GF_OK;
    /* variables given lie in a frame of their own: what the template sets hides them */
    gf_jframe *given = gf_jframe_new(&r, NULL);
    gf_jframe *top = given == NULL ? NULL : gf_jframe_new(&r, given);
    if (top == NULL)
        st = GF_ENOMEM;
    if (st == GF_OK)
        st = set_variables(&r, t, given, vars);
    if (st == GF_OK)
        st = gf_jexec_body(&r, top, t->body);
    if (st == GF_OK && text.len > 0)
        st = gf_buf_add(out, text.data, text.len, &own);
    gf_jarena_free(&r.arena);
    gf_buf_free(&text);
    return st == GF_OK ? st : gf_fail(err, st, "%s", own.text);
}
