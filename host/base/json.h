/* json.h - cJSON behind a strict validator, and typed access with errors that name the place.
 *
 * The validator refuses what cJSON lets pass: invalid UTF-8, trailing text, duplicate keys, \u0000
 * and raw NUL, lone surrogates, a byte order mark, depth over 512, numbers outside JSON's grammar
 * or of more than 63 characters; with line and column (in characters). Linear in the size of the
 * text, whatever its keys. Walk arrays with cJSON_ArrayForEach, never by index. */
#ifndef GRAFT_HOST_BASE_JSON_H
#define GRAFT_HOST_BASE_JSON_H

#include "base/utf8.h"
#include "graft/base.h"

#include <cjson/cJSON.h>

/* Parses `size` bytes. `where` names the text in messages (a path); `line` is the number of its
 * first line (1 for a whole file, the line number for JSONL). GF_EINPUT "WHERE:LINE:COL: what".
 * Free with cJSON_Delete. */
gf_status gf_json_parse(cJSON **out, const char *text, size_t size, const char *where, int line,
                        gf_err *err);
/* The validator alone. */
gf_status gf_json_check(const char *text, size_t size, const char *where, int line, gf_err *err);
gf_status gf_json_read(cJSON **out, const char *path, gf_err *err);

/* Typed members of an object: a missing or null one gives `missing` (obj may be NULL or null, too);
 * one of the wrong type is GF_EINPUT "WHERE: KEY: want an integer, got a string". Integers are
 * checked to be whole, below 2^53 and within [min, max]; doubles to be finite. */
gf_status gf_json_int(int64_t *out, const cJSON *obj, const char *key, int64_t missing, int64_t min,
                      int64_t max, const char *where, gf_err *err);
gf_status gf_json_double(double *out, const cJSON *obj, const char *key, double missing,
                         const char *where, gf_err *err);
gf_status gf_json_bool(bool *out, const cJSON *obj, const char *key, bool missing,
                       const char *where, gf_err *err);
/* *out points into obj. */
gf_status gf_json_string(const char **out, const cJSON *obj, const char *key, const char *missing,
                         const char *where, gf_err *err);

/* What an item is, for messages: "a string", "an array", "true". */
const char *gf_json_kind(const cJSON *item);

/* Appends `s` (UTF-8, n bytes) as a JSON string with quotes, non-ASCII raw. Not
 * UTF-8: GF_EINPUT. */
gf_status gf_json_quote(gf_buf *b, const char *s, size_t n, gf_err *err);
/* Appends a double so that it reads back exactly: the shortest of %.15g, %.16g, %.17g that does;
 * NaN and Inf are null. */
gf_status gf_json_number(gf_buf *b, double x, gf_err *err);

#endif
