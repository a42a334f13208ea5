/* json.c - cJSON behind the validator, typed members, writing. Contract: base/json.h. */
#include "base/json.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

gf_status gf_json_parse(cJSON **out, const char *text, size_t size, const char *where, int line,
                        gf_err *err)
{
    *out = NULL;
    TRY(gf_json_check(text, size, where, line, err));
    *out = cJSON_ParseWithLengthOpts(text, size, NULL, false);
    if (!*out)
        return gf_fail(err, GF_ENOMEM, "%s: out of memory for %zu bytes of JSON", where, size);
    return GF_OK;
}

gf_status gf_json_read(cJSON **out, const char *path, gf_err *err)
{
    char *text;
    size_t size;
    *out = NULL;
    TRY(gf_file_read(path, &text, &size, err));
    const gf_status st = gf_json_parse(out, text, size, path, 1, err);
    free(text);
    return st;
}

/* ---- typed members ----------------------------------------------------------------- */

const char *gf_json_kind(const cJSON *item)
{
    if (cJSON_IsNumber(item))
        return "a number";
    if (cJSON_IsString(item))
        return "a string";
    if (cJSON_IsBool(item))
        return cJSON_IsTrue(item) ? "true" : "false";
    if (cJSON_IsArray(item))
        return "an array";
    if (cJSON_IsObject(item))
        return "an object";
    return "null";
}

/* *item is NULL where `missing` counts. */
static gf_status member(const cJSON **item, const cJSON *obj, const char *key, const char *where,
                        gf_err *err)
{
    *item = NULL;
    if (!obj || cJSON_IsNull(obj))
        return GF_OK;
    if (!cJSON_IsObject(obj))
        return gf_fail(err, GF_EINPUT, "%s: want an object with %s, got %s", where, key,
                       gf_json_kind(obj));
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(obj, key);
    if (found && !cJSON_IsNull(found))
        *item = found;
    return GF_OK;
}

static gf_status fail_kind(const char *want, const cJSON *item, const char *key, const char *where,
                           gf_err *err)
{
    return gf_fail(err, GF_EINPUT, "%s: %s: want %s, got %s", where, key, want, gf_json_kind(item));
}

gf_status gf_json_int(int64_t *out, const cJSON *obj, const char *key, int64_t missing, int64_t min,
                      int64_t max, const char *where, gf_err *err)
{
    const cJSON *item;
    TRY(member(&item, obj, key, where, err));
    if (!item) {
        *out = missing;
        return GF_OK;
    }
    if (!cJSON_IsNumber(item))
        return fail_kind("an integer", item, key, where, err);
    const double x = item->valuedouble;
    if (!isfinite(x) || x != floor(x))
        return gf_fail(err, GF_EINPUT, "%s: %s: want an integer, got %g", where, key, x);
    if (fabs(x) >= 0x1p53) /* from here on a double may stand for another integer of the file */
        return gf_fail(err, GF_EINPUT, "%s: %s: %.17g is beyond 2^53, where numbers are not exact",
                       where, key, x);
    const int64_t v = (int64_t)x;
    if (v < min || v > max) {
        if (max >= INT64_C(1) << 53)
            return gf_fail(err, GF_EINPUT, "%s: %s: want at least %lld, got %lld", where, key,
                           (long long)min, (long long)v);
        return gf_fail(err, GF_EINPUT, "%s: %s: want %lld to %lld, got %lld", where, key,
                       (long long)min, (long long)max, (long long)v);
    }
    *out = v;
    return GF_OK;
}

gf_status gf_json_double(double *out, const cJSON *obj, const char *key, double missing,
                         const char *where, gf_err *err)
{
    const cJSON *item;
    TRY(member(&item, obj, key, where, err));
    if (item && !cJSON_IsNumber(item))
        return fail_kind("a number", item, key, where, err);
    if (item && !isfinite(item->valuedouble))
        return gf_fail(err, GF_EINPUT, "%s: %s: the number is too large", where, key);
    *out = item ? item->valuedouble : missing;
    return GF_OK;
}

gf_status gf_json_bool(bool *out, const cJSON *obj, const char *key, bool missing,
                       const char *where, gf_err *err)
{
    const cJSON *item;
    TRY(member(&item, obj, key, where, err));
    if (item && !cJSON_IsBool(item))
        return fail_kind("true or false", item, key, where, err);
    *out = item ? cJSON_IsTrue(item) : missing;
    return GF_OK;
}

gf_status gf_json_string(const char **out, const cJSON *obj, const char *key, const char *missing,
                         const char *where, gf_err *err)
{
    const cJSON *item;
    TRY(member(&item, obj, key, where, err));
    if (item && !cJSON_IsString(item))
        return fail_kind("a string", item, key, where, err);
    *out = item ? item->valuestring : missing;
    return GF_OK;
}

/* ---- writing ----------------------------------------------------------------------- */

gf_status gf_json_quote(gf_buf *b, const char *s, size_t n, gf_err *err)
{
    const size_t valid = gf_utf8_valid(s, n);
    if (valid < n)
        return gf_fail(err, GF_EINPUT, "a text to be written as JSON is not UTF-8 at its byte %zu",
                       valid);
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    TRY(gf_buf_add(b, "\"", 1, err));
    size_t start = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char ch = (unsigned char)s[i];
        if (ch >= 0x20 && ch != '"' && ch != '\\')
            continue;
        TRY(gf_buf_add(b, s + start, i - start, err));
        start = i + 1;
        const char *known = ch ? strchr(from, ch) : NULL;
        if (known)
            TRY(gf_buf_printf(b, err, "\\%c", to[known - from]));
        else
            TRY(gf_buf_printf(b, err, "\\u%04x", ch));
    }
    TRY(gf_buf_add(b, s + start, n - start, err));
    return gf_buf_add(b, "\"", 1, err);
}

gf_status gf_json_number(gf_buf *b, double x, gf_err *err)
{
    if (!isfinite(x))
        return gf_buf_str(b, "null", err);
    char text[32]; /* %.17g needs 24 */
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, x);
        if (strtod(text, NULL) == x)
            break;
    }
    return gf_buf_str(b, text, err);
}
