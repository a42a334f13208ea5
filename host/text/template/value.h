/* value.h - the values of a template: Python's, as far as chat templates see them. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_VALUE_H
#define GRAFT_HOST_TEXT_TEMPLATE_VALUE_H

#include "base/json.h"
#include "text/template/arena.h"

/* Operators as a packed pair of characters: '+' or GF_JOP2('/', '/'). */
#define GF_JOP2(a, b) ((a) | (b) << 8)

typedef struct gf_jnode gf_jnode;
typedef struct gf_jframe gf_jframe;
typedef struct gf_jloop gf_jloop;
typedef struct gf_jmacro gf_jmacro;
typedef struct gf_jmethod gf_jmethod;
typedef struct gf_jfunction gf_jfunction;
typedef struct gf_jundefined gf_jundefined;

typedef struct {
    const char *data; /* UTF-8, size bytes, not NUL-terminated */
    size_t size;
    bool safe; /* Markup: what is added to it is HTML-escaped */
} gf_jstr;

typedef enum {
    GF_J_UNDEFINED,
    GF_J_NONE,
    GF_J_BOOL,
    GF_J_INT,
    GF_J_FLOAT,
    GF_J_STR,
    GF_J_LIST,
    GF_J_TUPLE,
    GF_J_RANGE,
    GF_J_VIEW,      /* dict.items() and its like: has a length but no elements by number */
    GF_J_GENERATOR, /* what map, select, ... give: true, without length, read once */
    GF_J_DICT,
    GF_J_NAMESPACE,
    GF_J_LOOP,
    GF_J_MACRO,
    GF_J_METHOD,
    GF_J_FUNCTION,
    GF_J_CYCLER,
    GF_J_JOINER,
} gf_jkind;

typedef struct gf_jlist gf_jlist;
typedef struct gf_jdict gf_jdict;

typedef struct {
    gf_jkind kind;
    union {
        bool b;
        int64_t i;
        double f;
        const gf_jstr *s;
        gf_jlist *l; /* list, tuple, range, view, generator, cycler, joiner */
        gf_jdict *d; /* dict, namespace */
        gf_jloop *loop;
        const gf_jmacro *macro;
        const gf_jmethod *method;
        const gf_jfunction *function;
        const gf_jundefined *u; /* NULL: nothing is known about it */
    };
} gf_jval;

struct gf_jlist {
    gf_jval *item;
    size_t count, cap;
    size_t pos;       /* generator: items read; cycler: the next one; joiner: calls */
    const char *type; /* view or generator: Python's name of it */
};

typedef struct {
    gf_jval key, value;
} gf_jpair;

struct gf_jdict {
    gf_jpair *pair; /* in order of insertion */
    size_t count, cap;
    uint32_t *slot; /* hash table of indices + 1; NULL while small */
    size_t slots;
};

/* Where an undefined value comes from, for the message when it is used. */
struct gf_jundefined {
    const char *hint; /* whole message, or NULL */
    const gf_jstr *name;
    gf_jval key;      /* of an element; GF_J_STR: an attribute */
    const char *type; /* of the object whose it would be; NULL: a variable */
};

/* One render. */
typedef struct {
    gf_jarena arena;
    int64_t steps; /* left */
    int depth, calls;
    int line; /* being evaluated */
    const char *where;
    gf_buf *out;
    gf_err *err;
    /* names as the template's table has them; NULL: the template does not use them */
    const gf_jstr *loop_name, *caller_name, *varargs_name, *kwargs_name;
} gf_jrun;

/* "WHERE:LINE: what" as GF_EINPUT. */
gf_status gf_jrun_fail(gf_jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What an allocation that gave NULL returns: the code it left in err. */
gf_status gf_jrun_spent(const gf_jrun *r);
/* Counts n steps of the bound. */
gf_status gf_jrun_step(gf_jrun *r, size_t n);

static inline gf_jval gf_jval_none(void)
{
    return (gf_jval){.kind = GF_J_NONE, .i = 0};
}
static inline gf_jval gf_jval_bool(bool b)
{
    return (gf_jval){.kind = GF_J_BOOL, .b = b};
}
static inline gf_jval gf_jval_int(int64_t i)
{
    return (gf_jval){.kind = GF_J_INT, .i = i};
}
static inline gf_jval gf_jval_float(double f)
{
    return (gf_jval){.kind = GF_J_FLOAT, .f = f};
}
static inline gf_jval gf_jval_undefined(const gf_jundefined *u)
{
    return (gf_jval){.kind = GF_J_UNDEFINED, .u = u};
}
static inline gf_jval gf_jval_list(gf_jkind kind, gf_jlist *l)
{
    return (gf_jval){.kind = kind, .l = l};
}
static inline bool gf_jval_integral(gf_jval v)
{
    return v.kind == GF_J_INT || v.kind == GF_J_BOOL;
}
static inline int64_t gf_jval_as_int(gf_jval v)
{
    return v.kind == GF_J_BOOL ? v.b : v.i;
}
static inline bool gf_jval_number(gf_jval v)
{
    return gf_jval_integral(v) || v.kind == GF_J_FLOAT;
}
static inline double gf_jval_as_float(gf_jval v)
{
    return v.kind == GF_J_FLOAT ? v.f : (double)gf_jval_as_int(v);
}
static inline bool gf_jval_str_is(gf_jval v, const char *s)
{
    return v.kind == GF_J_STR && v.s->size == __builtin_strlen(s) &&
           __builtin_memcmp(v.s->data, s, v.s->size) == 0;
}

/* Strings. gf_jval_text borrows the bytes, gf_jval_copy copies them. */
gf_status gf_jval_text(gf_jrun *r, const char *s, size_t n, bool safe, gf_jval *out);
gf_status gf_jval_copy(gf_jrun *r, const char *s, size_t n, bool safe, gf_jval *out);
gf_status gf_jval_buf(gf_jrun *r, gf_buf *b, bool safe, gf_jval *out);    /* copies, then frees b */
gf_status gf_jval_concat(gf_jrun *r, gf_jval a, gf_jval b, gf_jval *out); /* two GF_J_STR */
gf_status gf_jval_escape(gf_jrun *r, gf_jval v, gf_jval *out); /* HTML; safe text stays */

/* Lists. */
gf_jlist *gf_jlist_new(gf_jrun *r, size_t cap); /* NULL: gf_jrun_spent */
gf_status gf_jlist_add(gf_jrun *r, gf_jlist *l, gf_jval v);
/* The elements of anything iterable, as a list that the caller may change if `own`. A generator is
 * read to its end. */
gf_status gf_jval_elements(gf_jrun *r, gf_jval v, bool own, gf_jlist **out);

/* Dicts. */
gf_jdict *gf_jdict_new(gf_jrun *r);
/* NULL: no such key. Unhashable keys fail. */
gf_status gf_jdict_find(gf_jrun *r, const gf_jdict *d, gf_jval key, gf_jpair **out);
gf_status gf_jdict_set(gf_jrun *r, gf_jdict *d, gf_jval key, gf_jval value);
gf_status gf_jdict_remove(gf_jrun *r, gf_jdict *d, const gf_jpair *p);
gf_jval *gf_jdict_named(const gf_jdict *d, const char *key, size_t n); /* NULL: none */

/* Python's name of the type. */
const char *gf_jval_type(gf_jval v);
bool gf_jval_truth(gf_jval v);
gf_status gf_jval_equal(gf_jrun *r, gf_jval a, gf_jval b, bool *out);
/* Order of two values for <, >: negative, 0, positive. `op` names it in the error. NaN: *nan. */
gf_status gf_jval_order(gf_jrun *r, gf_jval a, gf_jval b, const char *op, int *out, bool *nan);
gf_status gf_jval_contains(gf_jrun *r, gf_jval container, gf_jval v, bool *out);
gf_status gf_jval_length(gf_jrun *r, gf_jval v, int64_t *out);
/* Fails with the message of an undefined value. */
gf_status gf_jval_is_undefined(gf_jrun *r, gf_jval v);

/* Arithmetic; op as in GF_JOP2, or 'n' (negate) and 'p' (plus) with b ignored. */
gf_status gf_jval_arith(gf_jrun *r, int op, gf_jval a, gf_jval b, gf_jval *out);

/* object.name and object[key]; what isn't there is undefined. */
gf_status gf_jval_attribute(gf_jrun *r, gf_jval v, const gf_jstr *name, gf_jval *out);
gf_status gf_jval_item(gf_jrun *r, gf_jval v, gf_jval key, gf_jval *out);
/* start, stop, step: none or integers. */
gf_status gf_jval_slice(gf_jrun *r, gf_jval v, const gf_jval bound[3], gf_jval *out);

/* str(), repr() and json.dumps() appended to a buffer. */
gf_status gf_jval_print(gf_jrun *r, gf_jval v, gf_buf *b);
gf_status gf_jval_repr(gf_jrun *r, gf_jval v, gf_buf *b);
gf_status gf_jval_str(gf_jrun *r, gf_jval v, gf_jval *out); /* as a GF_J_STR */
gf_status gf_jfloat_repr(gf_jrun *r, double f, gf_buf *b);
typedef struct {
    bool ascii, sort_keys;
    const char *indent; /* NULL: one line */
    size_t indent_size;
    const char *item, *key; /* separators */
    size_t item_size, key_size;
} gf_jdumps;
gf_status gf_jval_json(gf_jrun *r, gf_jval v, const gf_jdumps *how, gf_buf *b);

/* A JSON tree as values (texts are borrowed). */
gf_status gf_jval_from_json(gf_jrun *r, const cJSON *j, int depth, gf_jval *out);

/* Calls: positional and named arguments as evaluated. */
typedef struct {
    gf_jval *pos;
    size_t count;
    const gf_jstr **name;
    gf_jval *named;
    size_t named_count;
} gf_jcall;

/* Puts the arguments into slot[] in the order of `names` ("a,b,c"): missing ones keep what slot
 * holds. The first `required` must be given. `what` names the callee in errors. */
gf_status gf_jcall_bind(gf_jrun *r, const gf_jcall *c, const char *what, const char *names,
                        size_t required, gf_jval *slot);

/* A method of a builtin type, bound to its object; GF_J_UNDEFINED in *out if there is none. */
gf_status gf_jmethod_find(gf_jrun *r, gf_jval object, const gf_jstr *name, gf_jval *out);
gf_status gf_jmethod_call(gf_jrun *r, const gf_jmethod *m, const gf_jcall *c, gf_jval *out);

/* 'a %s' % x and 'a {}'.format(...). */
gf_status gf_jformat_percent(gf_jrun *r, gf_jval format, gf_jval args, gf_jval *out);
gf_status gf_jformat_braces(gf_jrun *r, gf_jval format, const gf_jcall *c, gf_jval *out);

/* Filters and tests by name. */
typedef gf_status (*gf_jfilter)(gf_jrun *r, gf_jval v, const gf_jcall *c, gf_jval *out);
typedef gf_status (*gf_jtest)(gf_jrun *r, gf_jval v, const gf_jcall *c, bool *out);
gf_jfilter gf_jfilter_find(const char *name, size_t n); /* NULL: no such filter */
gf_jtest gf_jtest_find(const char *name, size_t n);
typedef struct {
    const char *name;
    gf_jfilter run;
} gf_jfilter_row;
extern const gf_jfilter_row gf_jfilters_text[], gf_jfilters_sequence[]; /* end with a NULL name */

#endif
