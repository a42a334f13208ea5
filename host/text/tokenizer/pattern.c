/* pattern.c - literal and regular-expression matches. Contract: tokenizer/parts.h.
 *
 * PCRE2's own Unicode tables may be older than the 16.0 that tokenizers use. Its fast \p{...} is
 * kept all the same: where the text has a character whose category differs, PCRE2 gets a stand-in
 * of the right category and the same length. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

enum {
    MATCH_LIMIT = 20000000, /* steps of one match: seconds, then an error */
    HEAP_LIMIT = 64 << 10,  /* KiB of backtracking memory without the JIT */
    STACK_FIRST = 32 << 10, /* bytes of the JIT's own stack */
    STACK_MOST = 8 << 20,
    SHOWN_MAX = 60,      /* bytes of a pattern shown in a message */
    OLDEST_UNICODE = 14, /* what tools/unicode-tables.py takes the difference to */
};

static gf_status unicode_is_known(gf_err *err)
{
    char version[64] = ""; /* PCRE2 asks for 24 */
    if (pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version) < 0 || atoi(version) < OLDEST_UNICODE)
        return gf_fail(err, GF_EMISSING,
                       "libpcre2 knows Unicode %s; tokenizers need 14 or later (PCRE2 10.40)",
                       version);
    return GF_OK;
}

static gf_status compile(gf_pattern *p, const gf_buf *re, const char *where, gf_err *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return gf_fail(err, GF_ENOMEM, "out of memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* as Ruby's ^, $ and . do */
    p->code = pcre2_compile((PCRE2_SPTR)re->data, re->len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                PCRE2_NO_UTF_CHECK,
                            &code, &at, context);
    pcre2_compile_context_free(context);
    if (!p->code) {
        char text[120] = ""; /* PCRE2's messages are shorter */
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return gf_fail(err, GF_EINPUT, "%s: pattern \"%.*s\": %s", where, SHOWN_MAX, p->source,
                       text);
    }
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it pcre2_match interprets */
    p->data = pcre2_match_data_create_from_pattern(p->code, NULL);
    p->context = pcre2_match_context_create(NULL);
    p->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, NULL);
    if (!p->data || !p->context || !p->stack)
        return gf_fail(err, GF_ENOMEM, "out of memory for a pattern");
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_set_heap_limit(p->context, HEAP_LIMIT);
    pcre2_jit_stack_assign(p->context, NULL, p->stack);
    return GF_OK;
}

gf_status gf_pattern_regex(gf_pattern *p, const char *re, const char *where, gf_err *err)
{
    TRY(unicode_is_known(err));
    p->size = strlen(re);
    p->source = gf_strdup(re, err);
    if (!p->source)
        return GF_ENOMEM;
    gf_buf translated = {0};
    gf_status st = gf_buf_str(&translated, "", err);
    if (st == GF_OK)
        st = gf_pattern_translate(&translated, re, p->size, where, err);
    if (st == GF_OK)
        st = compile(p, &translated, where, err);
    gf_buf_free(&translated);
    return st;
}

gf_status gf_pattern_literal(gf_pattern *p, const char *text, gf_err *err)
{
    p->literal = true;
    p->size = strlen(text);
    p->source = gf_strdup(text, err);
    return p->source ? GF_OK : GF_ENOMEM;
}

static gf_status all_literal(const gf_pattern *p, const char *s, size_t n, gf_spans *matches,
                             gf_err *err)
{
    if (!p->size)
        return GF_OK;
    for (size_t i = 0; n - i >= p->size;) {
        const char *hit = memmem(s + i, n - i, p->source, p->size);
        if (!hit)
            break;
        const size_t begin = (size_t)(hit - s);
        TRY(gf_spans_add(matches, begin, begin + p->size, err));
        i = begin + p->size;
    }
    return GF_OK;
}

/* *subject is s, or a copy with stand-ins. */
static gf_status stand_ins(gf_pattern *p, const char *s, size_t n, const char **subject,
                           gf_err *err)
{
    *subject = s;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = gf_utf8_next(s + i, &cp);
        if (len < 3) /* categories below U+0800 are the same since Unicode 14 */
            continue;
        const uint32_t stand_in = gf_stand_in(cp);
        if (stand_in == cp)
            continue;
        if (*subject == s) {
            p->subject.len = 0;
            TRY(gf_buf_add(&p->subject, s, n, err));
            *subject = p->subject.data;
        }
        gf_utf8_put((unsigned char *)p->subject.data + i, stand_in);
    }
    return GF_OK;
}

gf_status gf_pattern_all(gf_pattern *p, const char *s, size_t n, gf_spans *matches, gf_err *err)
{
    if (p->literal)
        return all_literal(p, s, n, matches, err);
    const char *subject;
    TRY(stand_ins(p, s, n, &subject, err));
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(p->data);
    for (size_t i = 0, done = 0; i <= n;) {
        const int rc = pcre2_match(p->code, (PCRE2_SPTR)subject, n, i, PCRE2_NO_UTF_CHECK, p->data,
                                   p->context);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0) {
            char text[120] = ""; /* PCRE2's messages are shorter */
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)text, sizeof text);
            return gf_fail(err, GF_EINPUT, "pattern \"%.*s\", byte %zu of a text of %zu: %s",
                           SHOWN_MAX, p->source, i, n, text);
        }
        const size_t begin = found[0], end = found[1];
        if (begin < done || end < begin) /* only \K and look-behind tricks do that */
            return gf_fail(err, GF_EINPUT, "pattern \"%.*s\" matches backwards", SHOWN_MAX,
                           p->source);
        TRY(gf_spans_add(matches, begin, end, err));
        done = i = end;
        if (begin == end) { /* an empty match: go on behind the next character */
            uint32_t cp;
            if (i == n)
                break;
            i += gf_utf8_next(s + i, &cp);
        }
    }
    return GF_OK;
}

void gf_pattern_free(gf_pattern *p)
{
    free(p->source);
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_jit_stack_free(p->stack);
    gf_buf_free(&p->subject);
    *p = (gf_pattern){0};
}
