/* A file's records: lines of a .jsonl, elements of a .json's array. */
#include "text/dataset_parts.h"

#include "base/file.h"

#include <limits.h>
#include <string.h>

typedef struct {
    const char *path;
    gf_record_fn fn;
    void *ctx;
    gf_err *err;
} reader;

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Parses one record and hands it over. */
static gf_status record(const reader *r, const char *text, size_t n, int64_t line)
{
    cJSON *j = NULL;
    if (line > INT_MAX)
        return gf_fail(r->err, GF_EINPUT, "%s: more than %d lines", r->path, INT_MAX);
    TRY(gf_json_parse(&j, text, n, r->path, (int)line, r->err));
    gf_status st = gf_template_numbers(j, text, n, r->err);
    if (st == GF_OK)
        st = r->fn(r->ctx, j, line, r->err);
    cJSON_Delete(j);
    return st;
}

static gf_status read_lines(const reader *r, const char *s, size_t n)
{
    int64_t line = 1;
    for (size_t i = 0; i < n; line++) {
        const char *end = memchr(s + i, '\n', n - i);
        size_t to = end == NULL ? n : (size_t)(end - s);
        const size_t next = to + 1;
        while (to > i && is_space(s[to - 1]))
            to--;
        while (i < to && is_space(s[i]))
            i++;
        if (to > i)
            TRY(record(r, s + i, to - i, line));
        i = next;
    }
    return GF_OK;
}

/* Bytes of the JSON value at s: to the ',' or ']' that ends it, or to the end of the text. What is
 * wrong inside is for the parser to say. */
static size_t value_end(const char *s, size_t n)
{
    int64_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            for (i++; i < n && s[i] != '"'; i++)
                i += s[i] == '\\';
        } else if (s[i] == '[' || s[i] == '{') {
            depth++;
        } else if (depth == 0 && (s[i] == ',' || s[i] == ']' || s[i] == '}')) {
            return i;
        } else if (s[i] == ']' || s[i] == '}') {
            depth--;
        }
    }
    return n;
}

static size_t skip_space(const char *s, size_t n, size_t i, int64_t *line)
{
    for (; i < n && is_space(s[i]); i++)
        *line += s[i] == '\n';
    return i;
}

static int64_t count_lines(const char *s, size_t n)
{
    int64_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += s[i] == '\n';
    return k;
}

/* Is this array one conversation: does its first element look like a message? */
static bool one_conversation(const char *s, size_t n)
{
    gf_err ignored = {0};
    cJSON *j = NULL;
    if (gf_json_parse(&j, s, n, "", 1, &ignored) != GF_OK)
        return false;
    const bool yes =
        cJSON_IsObject(j) && cJSON_HasObjectItem(j, "role") && !cJSON_HasObjectItem(j, "messages");
    cJSON_Delete(j);
    return yes;
}

static gf_status read_array(const reader *r, const char *s, size_t n, size_t i, int64_t line)
{
    const size_t open = i++;
    const int64_t first_line = line;
    i = skip_space(s, n, i, &line);
    for (bool first = true; i < n; first = false) {
        if (first && s[i] == ']')
            break;
        size_t k = value_end(s + i, n - i);
        if (i + k == n)
            return gf_fail(r->err, GF_EINPUT,
                           "%s:%lld: the array is not closed: its last element begins here",
                           r->path, (long long)line);
        if (first && one_conversation(s + i, k))
            return record(r, s + open, n - open, first_line);
        const size_t end = i + k;
        while (k > 0 && is_space(s[i + k - 1]))
            k--;
        TRY(record(r, s + i, k, line));
        line += count_lines(s + i, end - i);
        i = end;
        if (s[i] != ',')
            break;
        i = skip_space(s, n, i + 1, &line);
    }
    if (i >= n || s[i] != ']')
        return gf_fail(r->err, GF_EINPUT, "%s:%lld: the array is not closed", r->path,
                       (long long)line);
    i = skip_space(s, n, i + 1, &line);
    if (i < n)
        return gf_fail(r->err, GF_EINPUT, "%s:%lld: text follows the array", r->path,
                       (long long)line);
    return GF_OK;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

gf_status gf_records_read(const char *path, gf_record_fn fn, void *ctx, gf_err *err)
{
    const bool lines = ends_with(path, ".jsonl");
    if (!lines && !ends_with(path, ".json"))
        return gf_fail(err, GF_EINPUT, "%s: want a file named .json or .jsonl", path);
    gf_map map;
    TRY(gf_file_map(&map, path, err));
    const reader r = {.path = path, .fn = fn, .ctx = ctx, .err = err};
    const char *s = (const char *)map.data;
    int64_t line = 1;
    const size_t i = skip_space(s, map.size, 0, &line);
    gf_status st;
    if (i == map.size)
        st = gf_fail(err, GF_EINPUT, "%s: the file is empty", path);
    else if (lines)
        st = read_lines(&r, s, map.size);
    else if (s[i] == '[')
        st = read_array(&r, s, map.size, i, line);
    else
        st = record(&r, s + i, map.size - i, line);
    gf_file_unmap(&map);
    return st;
}
