/* pickle.c - the stack machine. Contract: format/pickle.h; the instructions: Python's
 * pickletools, protocols 2 to 5. */
#include "format/pickle.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define PICKLE_MAX ((size_t)1 << 24) /* bytes: 100000 tensors; bounds what the values may take */

typedef struct {
    gf_pickle *p;
    const unsigned char *data;
    size_t size, at, op_at;
    int *stack, depth, stack_room; /* of values */
    int *mark, marks, mark_room;   /* depths of the stack */
    int *memo, memos, memo_room;   /* values; -1: not set */
    const char *where;
    gf_err *err;
} machine;

static gf_status fail(const machine *m, const char *what)
{
    return gf_fail(m->err, GF_EINPUT, "%s: byte %zu: %s", m->where, m->op_at, what);
}

/* ---- bytes, values, the stack ------------------------------------------------------ */

static gf_status take(machine *m, size_t n, const unsigned char **out)
{
    if (n > m->size - m->at)
        return fail(m, "the pickle ends inside an instruction: is the file complete?");
    *out = m->data + m->at;
    m->at += n;
    return GF_OK;
}

/* A little-endian number of n <= 8 bytes. */
static gf_status take_number(machine *m, size_t n, uint64_t *v)
{
    const unsigned char *p = NULL;
    TRY(take(m, n, &p));
    *v = 0;
    for (size_t i = n; i-- > 0;)
        *v = *v << 8 | p[i];
    return GF_OK;
}

/* Adds a number to a list that doubles when it is full. */
static gf_status append(int **list, int *count, int *room, int v, gf_err *err)
{
    if (*count == *room) {
        const int more = *room ? *room * 2 : 8; /* PICKLE_MAX bounds it */
        int *grown = gf_realloc(*list, (size_t)more, sizeof *grown, err);
        if (!grown)
            return GF_ENOMEM;
        *list = grown;
        *room = more;
    }
    (*list)[(*count)++] = v;
    return GF_OK;
}

static gf_status push(machine *m, int value)
{
    return append(&m->stack, &m->depth, &m->stack_room, value, m->err);
}

static gf_pickle_value *at(const machine *m, int value)
{
    return &m->p->value[value];
}

static gf_status make(machine *m, gf_pickle_value v)
{
    gf_pickle *p = m->p;
    if (p->count == p->room) {
        const int more = p->room ? p->room * 2 : 64;
        gf_pickle_value *grown = gf_realloc(p->value, (size_t)more, sizeof *grown, m->err);
        if (!grown)
            return GF_ENOMEM;
        p->value = grown;
        p->room = more;
    }
    p->value[p->count] = v;
    return push(m, p->count++);
}

static gf_status make_number(machine *m, gf_pickle_kind kind, int64_t number)
{
    return make(m, (gf_pickle_value){.kind = kind, .number = number});
}

/* The depth below which instructions may not reach. */
static int floor_of(const machine *m)
{
    return m->marks ? m->mark[m->marks - 1] : 0;
}

static gf_status pop(machine *m, int *value)
{
    if (m->depth <= floor_of(m))
        return fail(m, "the pickle takes a value that is not there");
    *value = m->stack[--m->depth];
    return GF_OK;
}

/* Where the last mark stands, which is taken away. */
static gf_status pop_mark(machine *m, int *depth)
{
    if (m->marks == 0)
        return fail(m, "the pickle closes what it did not open");
    *depth = m->mark[--m->marks];
    return GF_OK;
}

/* Moves the values from `depth` on into the container `to`. */
static gf_status gather(machine *m, int to, int depth)
{
    for (int i = depth; i < m->depth; i++) {
        gf_pickle_value *v = at(m, to);
        TRY(append(&v->item, &v->count, &v->room, m->stack[i], m->err));
    }
    m->depth = depth;
    return GF_OK;
}

/* ---- instructions ------------------------------------------------------------------ */

enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_FLOAT = 'G',
    OP_INT4 = 'J',
    OP_INT1 = 'K',
    OP_INT2 = 'M',
    OP_NONE = 'N',
    OP_PERSISTENT = 'Q',
    OP_REDUCE = 'R',
    OP_TEXT1_OLD = 'U',
    OP_TEXT4 = 'X',
    OP_EMPTY_LIST = ']',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_GET1 = 'h',
    OP_GET4 = 'j',
    OP_PUT1 = 'q',
    OP_PUT4 = 'r',
    OP_SET_ITEM = 's',
    OP_TUPLE = 't',
    OP_SET_ITEMS = 'u',
    OP_EMPTY_DICT = '}',
    OP_EMPTY_TUPLE = ')',
    OP_PROTOCOL = 0x80,
    OP_NEW_OBJECT = 0x81,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_TRUE = 0x88,
    OP_FALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_TEXT1 = 0x8c,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95
};

static gf_status make_int(machine *m, size_t bytes, bool sign)
{
    uint64_t v = 0;
    if (bytes > sizeof v)
        return fail(m, "a number of more than 64 bits");
    TRY(take_number(m, bytes, &v));
    if (sign && bytes && bytes < sizeof v && v >> (8 * bytes - 1))
        v |= ~UINT64_C(0) << (8 * bytes);
    return make_number(m, GF_PICKLE_INT, (int64_t)v);
}

static gf_status make_text(machine *m, size_t length_bytes)
{
    uint64_t n = 0;
    const unsigned char *s = NULL;
    TRY(take_number(m, length_bytes, &n));
    TRY(take(m, n, &s));
    if (n && (memchr(s, 0, n) || gf_utf8_valid((const char *)s, n) < n))
        return fail(m, "a string that is not valid UTF-8 text");
    return make(m, (gf_pickle_value){.kind = GF_PICKLE_TEXT, .text = (const char *)s, .size = n});
}

static gf_status make_tuple(machine *m, int depth)
{
    if (depth < floor_of(m))
        return fail(m, "the pickle takes a value that is not there");
    const int tuple = m->p->count;
    TRY(make(m, (gf_pickle_value){.kind = GF_PICKLE_TUPLE}));
    m->depth--; /* of the tuple itself, until it holds them */
    TRY(gather(m, tuple, depth));
    return push(m, tuple);
}

/* Adds what stands above `depth` to the container below it. */
static gf_status add_items(machine *m, gf_pickle_kind kind, int depth)
{
    if (depth <= floor_of(m))
        return fail(m, "the pickle takes a value that is not there");
    const int to = m->stack[depth - 1];
    if (at(m, to)->kind != kind)
        return fail(m, kind == GF_PICKLE_DICT ? "the pickle sets an item of what is no dictionary"
                                              : "the pickle appends to what is no list");
    if (kind == GF_PICKLE_DICT && (m->depth - depth) % 2)
        return fail(m, "the pickle sets a key without a value");
    return gather(m, to, depth);
}

static gf_status put_memo(machine *m, uint64_t i)
{
    if (m->depth <= floor_of(m))
        return fail(m, "the pickle notes a value that is not there");
    if (i > m->size) /* each note takes an instruction */
        return fail(m, "the pickle notes a value under too high a number");
    while ((uint64_t)m->memos <= i)
        TRY(append(&m->memo, &m->memos, &m->memo_room, -1, m->err));
    m->memo[i] = m->stack[m->depth - 1];
    return GF_OK;
}

static gf_status get_memo(machine *m, size_t bytes)
{
    uint64_t i = 0;
    TRY(take_number(m, bytes, &i));
    if (i >= (uint64_t)m->memos || m->memo[i] < 0)
        return fail(m, "the pickle asks for a value that it has not noted");
    return push(m, m->memo[i]);
}

/* ---- names and calls --------------------------------------------------------------- */

static gf_status make_name(machine *m, const char *module, size_t a, const char *name, size_t b)
{
    const int id = gf_pickle_find_name(module, a, name, b);
    if (id >= 0)
        return make_number(m, GF_PICKLE_NAME, id);
    enum { SHOWN = 60 }; /* bytes of each part in the message */
    const bool clean = gf_utf8_valid(module, a) == a && gf_utf8_valid(name, b) == b;
    if (!clean || a > SHOWN || b > SHOWN || memchr(module, 0, a) || memchr(name, 0, b))
        return fail(m, "the pickle refers to something that is no tensor: refused, nothing of it "
                       "was run");
    return gf_fail(m->err, GF_EINPUT,
                   "%s: byte %zu: the pickle refers to %.*s.%.*s, which is no tensor: refused, "
                   "nothing of it was run",
                   m->where, m->op_at, (int)a, module, (int)b, name);
}

static gf_status take_global(machine *m)
{
    const char *line[2];
    size_t n[2];
    for (int i = 0; i < 2; i++) { /* module and name, a line each */
        line[i] = (const char *)m->data + m->at;
        const char *end = memchr(line[i], '\n', m->size - m->at);
        if (!end)
            return fail(m, "the pickle ends inside a name: is the file complete?");
        n[i] = (size_t)(end - line[i]);
        m->at += n[i] + 1;
    }
    return make_name(m, line[0], n[0], line[1], n[1]);
}

static gf_status take_stack_global(machine *m)
{
    int name = 0, module = 0;
    TRY(pop(m, &name));
    TRY(pop(m, &module));
    const gf_pickle_value *a = at(m, module), *b = at(m, name);
    if (a->kind != GF_PICKLE_TEXT || b->kind != GF_PICKLE_TEXT)
        return fail(m, "a name that is not text");
    return make_name(m, a->text, a->size, b->text, b->size);
}

/* A new value that holds another. */
static gf_status make_around(machine *m, gf_pickle_value v, int inner)
{
    const int i = m->p->count;
    TRY(make(m, v));
    gf_pickle_value *made = at(m, i);
    return append(&made->item, &made->count, &made->room, inner, m->err);
}

static gf_status call(machine *m)
{
    int args = 0, name = 0;
    TRY(pop(m, &args));
    TRY(pop(m, &name));
    if (at(m, name)->kind != GF_PICKLE_NAME || at(m, args)->kind != GF_PICKLE_TUPLE)
        return fail(m, "the pickle calls what is no name");
    const int64_t id = at(m, name)->number;
    const gf_pickle_value *a = at(m, args);
    if (id == GF_NAME_ORDERED_DICT && a->count == 0)
        return make(m, (gf_pickle_value){.kind = GF_PICKLE_DICT});
    if (id == GF_NAME_SIZE && a->count == 1 && at(m, a->item[0])->kind == GF_PICKLE_TUPLE)
        return push(m, a->item[0]);
    if (id != GF_NAME_TENSOR && id != GF_NAME_TENSOR_V2 && id != GF_NAME_PARAMETER)
        return fail(m, "the pickle calls something with arguments that it does not take");
    return make_around(m, (gf_pickle_value){.kind = GF_PICKLE_CALL, .number = id}, args);
}

static gf_status persistent(machine *m)
{
    int id = 0;
    TRY(pop(m, &id));
    return make_around(m, (gf_pickle_value){.kind = GF_PICKLE_STORAGE}, id);
}

/* State of an object: that of a dictionary is its versions' notes, and there is no other object. */
static gf_status build(machine *m)
{
    int state = 0;
    TRY(pop(m, &state));
    if (m->depth <= floor_of(m) || at(m, m->stack[m->depth - 1])->kind != GF_PICKLE_DICT)
        return fail(m, "the pickle sets the state of something that is no dictionary");
    return GF_OK;
}

/* ---- the machine ------------------------------------------------------------------- */

static gf_status skip(machine *m, size_t n)
{
    const unsigned char *p;
    return take(m, n, &p);
}

static gf_status put_numbered(machine *m, size_t bytes)
{
    uint64_t i = 0;
    TRY(take_number(m, bytes, &i));
    return put_memo(m, i);
}

static gf_status run_number(machine *m, int op)
{
    uint64_t n = 0;
    switch (op) {
    case OP_NONE:
        return make_number(m, GF_PICKLE_NONE, 0);
    case OP_TRUE:
    case OP_FALSE:
        return make_number(m, GF_PICKLE_BOOL, op == OP_TRUE);
    case OP_INT1:
        return make_int(m, 1, false);
    case OP_INT2:
        return make_int(m, 2, false);
    case OP_INT4:
        return make_int(m, 4, true);
    case OP_LONG1:
        TRY(take_number(m, 1, &n));
        return make_int(m, n, true);
    case OP_FLOAT:
        TRY(skip(m, 8));
        return make_number(m, GF_PICKLE_FLOAT, 0);
    case OP_TEXT1:
    case OP_TEXT1_OLD:
        return make_text(m, 1);
    case OP_TEXT4:
        return make_text(m, 4);
    default:
        break;
    }
    return gf_fail(m->err, GF_EINPUT,
                   "%s: byte %zu: the instruction 0x%02x does not occur in pickles of tensors: "
                   "refused",
                   m->where, m->op_at, (unsigned)op);
}

static gf_status run_container(machine *m, int op)
{
    int depth = 0;
    switch (op) {
    case OP_MARK:
        return append(&m->mark, &m->marks, &m->mark_room, m->depth, m->err);
    case OP_EMPTY_DICT:
        return make(m, (gf_pickle_value){.kind = GF_PICKLE_DICT});
    case OP_EMPTY_LIST:
        return make(m, (gf_pickle_value){.kind = GF_PICKLE_LIST});
    case OP_EMPTY_TUPLE:
        return make(m, (gf_pickle_value){.kind = GF_PICKLE_TUPLE});
    case OP_TUPLE:
        TRY(pop_mark(m, &depth));
        return make_tuple(m, depth);
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return make_tuple(m, m->depth - 1 - (op - OP_TUPLE1));
    case OP_SET_ITEM:
        return add_items(m, GF_PICKLE_DICT, m->depth - 2);
    case OP_SET_ITEMS:
        TRY(pop_mark(m, &depth));
        return add_items(m, GF_PICKLE_DICT, depth);
    case OP_APPEND:
        return add_items(m, GF_PICKLE_LIST, m->depth - 1);
    case OP_APPENDS:
        TRY(pop_mark(m, &depth));
        return add_items(m, GF_PICKLE_LIST, depth);
    default:
        return run_number(m, op);
    }
}

static gf_status run_op(machine *m, int op)
{
    switch (op) {
    case OP_PROTOCOL:
        return skip(m, 1); /* what counts is whether the instructions are known */
    case OP_FRAME:
        return skip(m, 8);
    case OP_GLOBAL:
        return take_global(m);
    case OP_STACK_GLOBAL:
        return take_stack_global(m);
    case OP_REDUCE:
    case OP_NEW_OBJECT:
        return call(m);
    case OP_BUILD:
        return build(m);
    case OP_PERSISTENT:
        return persistent(m);
    case OP_PUT1:
        return put_numbered(m, 1);
    case OP_PUT4:
        return put_numbered(m, 4);
    case OP_MEMOIZE:
        return put_memo(m, (uint64_t)m->memos);
    case OP_GET1:
        return get_memo(m, 1);
    case OP_GET4:
        return get_memo(m, 4);
    default:
        return run_container(m, op);
    }
}

gf_status gf_pickle_run(gf_pickle *p, const unsigned char *data, size_t size, size_t *from,
                        const char *where, int *top, gf_err *err)
{
    machine m = {.p = p, .data = data, .size = size, .at = *from, .where = where, .err = err};
    gf_status st = GF_OK;
    if (size - *from > PICKLE_MAX) /* of a file with several: what is too long is its data */
        m.size = *from + PICKLE_MAX;
    for (;;) {
        uint64_t op = 0;
        m.op_at = m.at;
        TRYG(take_number(&m, 1, &op));
        if (op == OP_STOP)
            break;
        TRYG(run_op(&m, (int)op));
    }
    if (m.depth != 1 || m.marks)
        TRYG(fail(&m, "the pickle ends with more or less than one value"));
    *top = m.stack[0];
    *from = m.at;
out:
    free(m.stack);
    free(m.mark);
    free(m.memo);
    return st;
}

void gf_pickle_free(gf_pickle *p)
{
    for (int i = 0; i < p->count; i++)
        free(p->value[i].item);
    free(p->value);
    *p = (gf_pickle){0};
}
