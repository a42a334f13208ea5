/* + - * / // % ** with Python's rules; integers are 64-bit and overflow is an error. */
#include "text/template/value.h"

#include <math.h>
#include <string.h>

static gf_status overflow(gf_jrun *r)
{
    return gf_jrun_fail(r, "an integer result is over 64 bits");
}

static gf_status power_int(gf_jrun *r, int64_t a, int64_t n, gf_jval *out)
{
    if (n < 0) {
        if (a == 0)
            return gf_jrun_fail(r, "0.0 cannot be raised to a negative power");
        *out = gf_jval_float(pow((double)a, (double)n));
        return GF_OK;
    }
    int64_t v = 1;
    for (;;) {
        if ((n & 1) != 0 && __builtin_mul_overflow(v, a, &v))
            return overflow(r);
        n >>= 1;
        if (n == 0)
            break;
        if (__builtin_mul_overflow(a, a, &a))
            return overflow(r);
    }
    *out = gf_jval_int(v);
    return GF_OK;
}

/* Division rounds down and the remainder has the divisor's sign, as in Python. */
static gf_status divide_int(gf_jrun *r, int op, int64_t a, int64_t b, gf_jval *out)
{
    if (b == 0)
        return gf_jrun_fail(r, op == '%' ? "integer modulo by zero"
                                         : "integer division or modulo by zero");
    if (b == -1) { /* INT64_MIN / -1 does not fit */
        int64_t v = 0;
        if (op != '%' && __builtin_sub_overflow((int64_t)0, a, &v))
            return overflow(r);
        *out = gf_jval_int(v);
        return GF_OK;
    }
    int64_t q = a / b, m = a % b;
    if (m != 0 && (m < 0) != (b < 0)) {
        q--;
        m += b;
    }
    *out = gf_jval_int(op == '%' ? m : q);
    return GF_OK;
}

static gf_status arith_int(gf_jrun *r, int op, int64_t a, int64_t b, gf_jval *out)
{
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &v);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &v);
        break;
    case '/':
        if (b == 0)
            return gf_jrun_fail(r, "division by zero");
        *out = gf_jval_float((double)a / (double)b);
        return GF_OK;
    case GF_JOP2('*', '*'):
        return power_int(r, a, b, out);
    default:
        return divide_int(r, op, a, b, out);
    }
    *out = gf_jval_int(v);
    return over ? overflow(r) : GF_OK;
}

static gf_status arith_float(gf_jrun *r, int op, double a, double b, gf_jval *out)
{
    double v = 0;
    switch (op) {
    case '+':
        v = a + b;
        break;
    case '-':
        v = a - b;
        break;
    case '*':
        v = a * b;
        break;
    case GF_JOP2('*', '*'):
        if (a == 0 && b < 0)
            return gf_jrun_fail(r, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            return gf_jrun_fail(r, "complex numbers are not supported");
        v = pow(a, b);
        if (isinf(v) && isfinite(a) && isfinite(b))
            return gf_jrun_fail(r, "(34, 'Numerical result out of range')");
        break;
    default:
        if (b == 0)
            return gf_jrun_fail(r, op == '/' ? "float division by zero"
                                             : "float floor division by "
                                               "zero");
        if (op == '/') {
            v = a / b;
            break;
        }
        v = fmod(a, b);
        if (v != 0 && (v < 0) != (b < 0))
            v += b;
        else if (v == 0)
            v = copysign(0, b);
        if (op == GF_JOP2('/', '/')) {
            const double q = (a - v) / b, down = floor(q);
            v = q - down > 0.5 ? down + 1 : down;
        }
    }
    *out = gf_jval_float(v);
    return GF_OK;
}

static gf_status repeat(gf_jrun *r, gf_jval v, int64_t times, gf_jval *out)
{
    const size_t n = v.kind == GF_J_STR ? v.s->size : v.l->count;
    const size_t k = times < 0 ? 0 : (size_t)times;
    size_t total;
    if (__builtin_mul_overflow(n, k, &total))
        return gf_jrun_fail(r, "a repeated value is too long");
    TRY(gf_jrun_step(r, v.kind == GF_J_STR ? total >> 8 : total));
    if (v.kind == GF_J_STR) {
        char *d = gf_jarena_chars(&r->arena, total, r->err);
        if (d == NULL)
            return gf_jrun_spent(r);
        for (size_t i = 0; n > 0 && i < total; i += n)
            memcpy(d + i, v.s->data, n);
        return gf_jval_text(r, d, total, v.s->safe, out);
    }
    gf_jlist *l = gf_jlist_new(r, total);
    if (l == NULL)
        return gf_jrun_spent(r);
    for (size_t i = 0; n > 0 && i < total; i += n)
        memcpy(l->item + i, v.l->item, n * sizeof *l->item);
    l->count = total;
    *out = gf_jval_list(v.kind, l);
    return GF_OK;
}

static bool repeatable(gf_jval v)
{
    return v.kind == GF_J_STR || v.kind == GF_J_LIST || v.kind == GF_J_TUPLE;
}

static gf_status add(gf_jrun *r, gf_jval a, gf_jval b, gf_jval *out)
{
    if (a.kind == GF_J_STR && b.kind == GF_J_STR)
        return gf_jval_concat(r, a, b, out);
    if (a.kind == GF_J_STR)
        return gf_jrun_fail(r, "can only concatenate str (not \"%s\") to str", gf_jval_type(b));
    if (a.kind == b.kind && repeatable(a)) {
        gf_jlist *l;
        TRY(gf_jval_elements(r, a, true, &l));
        TRY(gf_jrun_step(r, b.l->count));
        for (size_t i = 0, n = b.l->count; i < n; i++)
            TRY(gf_jlist_add(r, l, b.l->item[i]));
        *out = gf_jval_list(a.kind, l);
        return GF_OK;
    }
    if (repeatable(a))
        return gf_jrun_fail(r, "can only concatenate %s (not \"%s\") to %s", gf_jval_type(a),
                            gf_jval_type(b), gf_jval_type(a));
    return gf_jrun_fail(r, "unsupported operand type(s) for +: '%s' and '%s'", gf_jval_type(a),
                        gf_jval_type(b));
}

static gf_status unary(gf_jrun *r, int op, gf_jval a, gf_jval *out)
{
    if (gf_jval_integral(a))
        return arith_int(r, op == 'n' ? '-' : '+', 0, gf_jval_as_int(a), out);
    if (a.kind != GF_J_FLOAT)
        return gf_jrun_fail(r, "bad operand type for unary %c: '%s'", op == 'n' ? '-' : '+',
                            gf_jval_type(a));
    *out = gf_jval_float(op == 'n' ? -a.f : a.f);
    return GF_OK;
}

gf_status gf_jval_arith(gf_jrun *r, int op, gf_jval a, gf_jval b, gf_jval *out)
{
    if (a.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, a);
    if (op == 'n' || op == 'p')
        return unary(r, op, a, out);
    if (op == '%' && a.kind == GF_J_STR)
        return gf_jformat_percent(r, a, b, out);
    if (b.kind == GF_J_UNDEFINED)
        return gf_jval_is_undefined(r, b);
    if (gf_jval_integral(a) && gf_jval_integral(b))
        return arith_int(r, op, gf_jval_as_int(a), gf_jval_as_int(b), out);
    if (gf_jval_number(a) && gf_jval_number(b))
        return arith_float(r, op, gf_jval_as_float(a), gf_jval_as_float(b), out);
    if (op == '+')
        return add(r, a, b, out);
    if (op == '*' && repeatable(a) && gf_jval_integral(b))
        return repeat(r, a, gf_jval_as_int(b), out);
    if (op == '*' && repeatable(b) && gf_jval_integral(a))
        return repeat(r, b, gf_jval_as_int(a), out);
    if (op == GF_JOP2('*', '*'))
        return gf_jrun_fail(r, "unsupported operand type(s) for ** or pow(): '%s' and '%s'",
                            gf_jval_type(a), gf_jval_type(b));
    const char text[3] = {(char)(op & 0xff), (char)(op >> 8), '\0'};
    return gf_jrun_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", text,
                        gf_jval_type(a), gf_jval_type(b));
}
