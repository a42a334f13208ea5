/* ast.h - a parsed template. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_AST_H
#define GRAFT_HOST_TEXT_TEMPLATE_AST_H

#include "text/template/lex.h"
#include "text/template/value.h"

typedef enum {
    /* expressions */
    GF_JN_CONST,     /* value */
    GF_JN_NAME,      /* name */
    GF_JN_LIST,      /* item[] */
    GF_JN_TUPLE,     /* item[] */
    GF_JN_DICT,      /* item[] = key, value, key, value ... */
    GF_JN_ATTRIBUTE, /* a . name */
    GF_JN_ITEM,      /* a [b] */
    GF_JN_SLICE,     /* a [b:c:d] */
    GF_JN_CALL,      /* a (args) */
    GF_JN_FILTER,    /* a | name(args); a is NULL in set and filter blocks */
    GF_JN_TEST,      /* a is name(args) */
    GF_JN_NOT,       /* a */
    GF_JN_AND,       /* item[] */
    GF_JN_OR,        /* item[] */
    GF_JN_CONCAT,    /* item[] ~ */
    GF_JN_ARITH,     /* a op b; unary if b is NULL */
    GF_JN_COMPARE,   /* item[0] ops[0] item[1] ops[1] ... */
    GF_JN_COND,      /* b if a else c (or NULL) */
    /* statements */
    GF_JN_DATA,         /* value */
    GF_JN_PRINT,        /* a */
    GF_JN_IF,           /* item[] = test, body, test, body ...; b = else or NULL */
    GF_JN_FOR,          /* a = target, b = iterable, c = filter or NULL, body, d = else or NULL */
    GF_JN_SET,          /* a = target, b = value */
    GF_JN_SET_BLOCK,    /* a = target, b = filter or NULL, body */
    GF_JN_SET_MEMBER,   /* target only: name of the namespace, value = attribute */
    GF_JN_MACRO,        /* name, params, body */
    GF_JN_CALL_BLOCK,   /* a = call, params, body */
    GF_JN_FILTER_BLOCK, /* b = filter, body */
    GF_JN_WITH,         /* item[] = target, value, ...; body */
    GF_JN_SCOPE,        /* body: generation and block */
    GF_JN_BODY,         /* item[] statements */
    GF_JN_BREAK,
    GF_JN_CONTINUE,
} gf_jnode_kind;

typedef struct {
    gf_jnode **pos;
    size_t count;
    const gf_jstr **name;
    gf_jnode **named;
    size_t named_count;
    gf_jnode *star, *star_star; /* *args and **kwargs, or NULL */
} gf_jargs;

typedef struct {
    const gf_jstr **name;
    gf_jnode **fallback; /* NULL where there is none */
    size_t count;
    bool uses_caller, uses_varargs, uses_kwargs;
} gf_jparams;

struct gf_jnode {
    gf_jnode_kind kind;
    int line, op;
    int height; /* of the expression tree below, for the depth bound */
    gf_jnode *a, *b, *c, *d, *body;
    gf_jnode **item;
    size_t count;
    int *ops; /* '<', GF_JOP2('<', '='), 'i' (in), 'x' (not in) */
    const gf_jstr *name;
    gf_jval value;
    gf_jargs *args;
    gf_jparams *params;
    gf_jfilter filter;
    gf_jtest test;
};

struct gf_template {
    gf_jarena arena;
    char *where;
    gf_jnode *body;
    const gf_jstr **name; /* every name once, so that equal names are equal pointers */
    size_t name_count, name_cap;
};

/* The parser's state, between template/parse.c (statements) and template/expr.c. */
typedef struct {
    struct gf_template *t;
    const gf_jtoken *tok; /* the current one */
    int depth;            /* of nesting */
    int loops;            /* for loops around, for break and continue */
    gf_jparams *params;   /* of the macro around, or NULL */
    gf_err *err;
} gf_jparser;

gf_status gf_jparse_fail(const gf_jparser *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
gf_jnode *gf_jnode_new(gf_jparser *p, gf_jnode_kind kind); /* NULL: gf_jparse_spent */
gf_status gf_jparse_spent(const gf_jparser *p);
gf_status gf_jname_intern(struct gf_template *t, const char *s, size_t n, const gf_jstr **out,
                          gf_err *err);
bool gf_jparse_op(gf_jparser *p, int op); /* takes the operator if it is next */
gf_status gf_jparse_expect_op(gf_jparser *p, int op);
bool gf_jparse_at_name(const gf_jparser *p, const char *name);
bool gf_jparse_name(gf_jparser *p, const char *name); /* takes the name if it is next */
gf_status gf_jparse_expect_name(gf_jparser *p, const gf_jstr **out);

/* A growing list of nodes. */
typedef struct {
    gf_jnode **item;
    size_t count, cap;
} gf_jnodes;
gf_status gf_jnodes_add(gf_jparser *p, gf_jnodes *l, gf_jnode *n);

/* A new node `n`, or return. */
#define GF_JNODE(n, kind)                                                                          \
    gf_jnode *const n = gf_jnode_new(p, (kind));                                                   \
    do {                                                                                           \
        if (n == NULL)                                                                             \
            return gf_jparse_spent(p);                                                             \
    } while (0)

/* Counts children into a node's height, which is bounded. */
gf_status gf_jnode_adopt(gf_jparser *p, gf_jnode *n, const gf_jnode *child);
gf_status gf_jnode_adopt_all(gf_jparser *p, gf_jnode *n, const gf_jnodes *l);
gf_status gf_jparse_enter(gf_jparser *p); /* one level of nesting more; p->depth-- leaves it */

gf_status gf_jparse_primary(gf_jparser *p, gf_jnode **out);
gf_status gf_jparse_call(gf_jparser *p, gf_jnode *a, gf_jnode **out);
/* What follows *node by . [ ( and by `is`. */
gf_status gf_jparse_postfix(gf_jparser *p, gf_jnode **node);
gf_status gf_jparse_test(gf_jparser *p, gf_jnode **node);
gf_status gf_jparse_expression(gf_jparser *p, bool conditional, gf_jnode **out);
/* a, b, ...: one expression, or a tuple; ends at a tag's end, ')' or the name `end` (or NULL). */
gf_status gf_jparse_tuple(gf_jparser *p, bool conditional, bool parens, const char *end,
                          gf_jnode **out);
/* A name, a tuple of names, or (member) namespace.name. */
gf_status gf_jparse_target(gf_jparser *p, bool member, gf_jnode **out);
/* |name(args)...: `first` without its '|'. *node is the input and the result. */
gf_status gf_jparse_filter(gf_jparser *p, bool first, gf_jnode **node);

gf_status gf_jparse_template(struct gf_template *t, const gf_jtokens *tokens, gf_err *err);

#endif
