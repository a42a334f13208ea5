/* A file's records: lines of a .jsonl, elements of a .json's array. */
#include "text/dataset_source.h"

#include "base/file.h"
#include "text/template.h"

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
        st = r->fn(r->ctx, j, text, n, line, r->err);
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

/* The quote that closes the string which begins at s[i]. */
static size_t string_end(const char *s, size_t n, size_t i)
{
    for (i++; i < n && s[i] != '"'; i++)
        i += s[i] == '\\';
    return i;
}

/* Bytes of the JSON value at s: to the ',' or ']' that ends it, or to the end of the text. What is
 * wrong inside is for the parser to say. */
static size_t value_end(const char *s, size_t n)
{
    int64_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            i = string_end(s, n, i);
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

/* Bytes of what begins with a bracket, to the one that closes it; n if none does. */
static size_t object_size(const char *s, size_t n)
{
    int64_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"')
            i = string_end(s, n, i);
        else if (s[i] == '[' || s[i] == '{')
            depth++;
        else if ((s[i] == ']' || s[i] == '}') && --depth == 0)
            return i + 1;
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

/* One object, or, as many files named .json have it, one a line. */
static gf_status read_objects(const reader *r, const char *s, size_t n, size_t i, int64_t line)
{
    int64_t after = line;
    const size_t next = skip_space(s, n, i + object_size(s + i, n - i), &after);
    return next < n && s[next] == '{' ? read_lines(r, s, n) : record(r, s + i, n - i, line);
}

gf_status gf_records_parse(const char *s, size_t n, bool lines, const char *path, gf_record_fn fn,
                           void *ctx, gf_err *err)
{
    const reader r = {.path = path, .fn = fn, .ctx = ctx, .err = err};
    int64_t line = 1;
    const size_t i = skip_space(s, n, 0, &line);
    if (i == n)
        return gf_fail(err, GF_EINPUT, "%s: the file is empty", path);
    if (lines)
        return read_lines(&r, s, n);
    return s[i] == '[' ? read_array(&r, s, n, i, line) : read_objects(&r, s, n, i, line);
}

/* Files that hold data in a form that is not read here, and what makes them one that is. */
static gf_status refuse_others(const char *path, const char *s, size_t n, gf_err *err)
{
    if ((n >= 4 && memcmp(s, "PAR1", 4) == 0) || ends_with(path, ".parquet"))
        return gf_fail(err, GF_EINPUT,
                       "%s: Parquet is not read: no C library for it is packaged here; convert it: "
                       "python3 -c 'import pandas, sys; pandas.read_parquet(sys.argv[1])"
                       ".to_json(sys.argv[2], orient=\"records\", lines=True)' %s data.jsonl",
                       path, path);
    if (ends_with(path, ".csv") || ends_with(path, ".tsv"))
        return gf_fail(err, GF_EINPUT,
                       "%s: tables of text are not read; write a .jsonl file, one object a line "
                       "with the columns as its keys",
                       path);
    if (n >= 2 && memcmp(s, "\x1f\x8b", 2) == 0)
        return gf_fail(err, GF_EINPUT, "%s: the file is compressed; gunzip it first", path);
    if (n >= 4 && memcmp(s, "\x28\xb5\x2f\xfd", 4) == 0)
        return gf_fail(err, GF_EINPUT, "%s: the file is compressed; unzstd it first", path);
    if (!ends_with(path, ".jsonl") && !ends_with(path, ".json"))
        return gf_fail(err, GF_EINPUT, "%s: want a file named .json or .jsonl", path);
    return GF_OK;
}

gf_status gf_records_read(const char *path, gf_record_fn fn, void *ctx, gf_err *err)
{
    gf_map map;
    TRY(gf_file_map(&map, path, err));
    const char *s = (const char *)map.data;
    gf_status st = refuse_others(path, s, map.size, err);
    if (st == GF_OK)
        st = gf_records_parse(s, map.size, ends_with(path, ".jsonl"), path, fn, ctx, err);
    gf_file_unmap(&map);
    return st;
}
