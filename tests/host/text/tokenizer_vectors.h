/* tokenizer_vectors.h - runs the strings of a vectors.jsonl through a tokenizer. */
#ifndef GRAFT_TESTS_HOST_TEXT_TOKENIZER_VECTORS_H
#define GRAFT_TESTS_HOST_TEXT_TOKENIZER_VECTORS_H

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* JSON here has no NUL: before it is parsed, \u0000 becomes a private character that the strings do
 * not contain, and afterwards that becomes NUL again, in place. Returns the new length. */
#define STAND_IN "\xEF\xA3\xBF" /* U+F8FF */

static void hide_nul(char *line, size_t n)
{
    for (char *at = line; (at = memmem(at, n - (size_t)(at - line), "\\u0000", 6));)
        memcpy(at, "\\uF8FF", 6);
}

static size_t show_nul(char *s)
{
    size_t n = strlen(s);
    for (char *at = s; (at = memmem(at, n - (size_t)(at - s), STAND_IN, 3));) {
        *at++ = 0;
        memmove(at, at + 2, n - (size_t)(at - s) - 1);
        n -= 2;
    }
    return n;
}

typedef struct {
    const cJSON *next;
    int wrong;
} piece_check;

static gf_status check_piece(void *ctx, const char *piece, size_t n)
{
    piece_check *c = ctx;
    c->wrong += !c->next || show_nul(c->next->valuestring) != n ||
                memcmp(c->next->valuestring, piece, n) != 0;
    c->next = c->next ? c->next->next : NULL;
    return GF_OK;
}

static bool same_ids(const gf_tokens *got, const cJSON *want)
{
    int64_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want)
    {
        if (i >= got->count || got->id[i] != item->valueint)
            return false;
        i++;
    }
    return i == got->count;
}

/* Starts lie within the text and never go back. */
static bool good_starts(const gf_tokens *got, size_t size)
{
    for (int64_t i = 0; i < got->count; i++)
        if (got->start[i] < (i ? got->start[i - 1] : 0) || got->start[i] > (int64_t)size)
            return false;
    return true;
}

/* What a line of vectors says that is not so; NULL: all is. */
static const char *check_vector(gf_tokenizer *t, const cJSON *line, bool with_pieces)
{
    char *text = cJSON_GetObjectItem(line, "text")->valuestring;
    const size_t size = show_nul(text);
    const cJSON *ids = cJSON_GetObjectItem(line, "ids");
    char *decoded = cJSON_GetObjectItem(line, "decoded")->valuestring;
    const size_t decoded_size = show_nul(decoded);
    const cJSON *pieces = with_pieces ? cJSON_GetObjectItem(line, "pieces") : NULL;
    gf_tokens plain = {0}, special = {0};
    gf_buf out = {0};
    const char *wrong = NULL;
    if (gf_tokenizer_encode(t, text, size, false, &plain, NULL) != GF_OK ||
        gf_tokenizer_encode(t, text, size, true, &special, NULL) != GF_OK ||
        gf_tokenizer_decode(t, plain.id, plain.count, false, &out, NULL) != GF_OK)
        wrong = "status";
    else if (!same_ids(&plain, ids))
        wrong = "ids";
    else if (!same_ids(&special, cJSON_GetObjectItem(line, "ids_with_special")))
        wrong = "ids with special";
    else if (!good_starts(&plain, size) || !good_starts(&special, size))
        wrong = "starts";
    else if (decoded_size != out.len || memcmp(decoded, out.data ? out.data : "", out.len) != 0)
        wrong = "decoded";
    if (!wrong && pieces) {
        piece_check c = {.next = pieces->child};
        if (gf_tokenizer_pieces(t, text, size, check_piece, &c, NULL) != GF_OK || c.wrong || c.next)
            wrong = "pieces";
    }
    gf_tokens_free(&plain);
    gf_tokens_free(&special);
    gf_buf_free(&out);
    return wrong;
}

/* Returns the number of strings. */
static int check_lines(gf_tokenizer *t, const char *path, bool with_pieces)
{
    char *data;
    size_t size;
    gf_err err = {0};
    int count = 0, bad = 0;
    cr_assert_eq(gf_file_read(path, &data, &size, &err), GF_OK, "%s", err.text);
    for (char *at = data, *end; (end = memchr(at, '\n', size - (size_t)(at - data)));
         at = end + 1) {
        cJSON *line;
        count++;
        hide_nul(at, (size_t)(end - at));
        cr_assert_eq(gf_json_parse(&line, at, (size_t)(end - at), path, count, &err), GF_OK, "%s",
                     err.text);
        const char *wrong = check_vector(t, line, with_pieces);
        if (wrong && bad++ < 5) {
            char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(line, "text"));
            cr_log_error("%s:%d: %s differ for %.200s\n", path, count, wrong, text);
            free(text);
        }
        cJSON_Delete(line);
    }
    free(data);
    cr_expect_eq(bad, 0, "%s: %d of %d strings differ", path, bad, count);
    return count;
}

static int check_vectors(gf_tokenizer *t, const char *path)
{
    return check_lines(t, path, true);
}

#endif
