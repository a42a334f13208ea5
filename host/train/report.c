/* report.c - contract: report.h. */
#include "train/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "train/report_page.h"

/* Where the page wants its data; once. */
#define PLACE "@DATA@"

gf_status gf_report_escape(gf_buf *out, const char *json, size_t n, gf_err *err)
{
    for (size_t at = 0; at < n;) {
        size_t plain = at;
        while (plain < n && !strchr("<>&\xE2", json[plain]))
            plain++;
        TRY(gf_buf_add(out, json + at, plain - at, err));
        if (plain == n)
            return GF_OK;
        at = plain + 1;
        if (json[plain] != '\xE2') /* these stand in strings only, where \u is the same */
            TRY(gf_buf_printf(out, err, "\\u%04x", (unsigned)json[plain]));
        else if (n - plain >= 3 && (!memcmp(json + plain, "\xE2\x80\xA8", 3) ||  /* U+2028, */
                                    !memcmp(json + plain, "\xE2\x80\xA9", 3))) { /* U+2029 */
            TRY(gf_buf_printf(out, err, "\\u202%c", json[plain + 2] == '\xA8' ? '8' : '9'));
            at = plain + 3;
        } else
            TRY(gf_buf_add(out, json + plain, 1, err));
    }
    return GF_OK;
}

static gf_status put_plan(const gf_report *r, gf_buf *b, gf_err *err)
{
    TRY(gf_buf_printf(b, err, ",\"memory\":{\"row_tokens\":%lld,\"threads\":%zu,\"parts\":[",
                      (long long)r->plan->row_tokens, r->plan->threads));
    for (int i = 0; i < GF_PARTS; i++)
        TRY(gf_buf_printf(b, err, "%s{\"name\":\"%s\",\"planned\":%zu,\"used\":%zu}", i ? "," : "",
                          gf_part_name((gf_part)i), r->plan->part[i], r->arena->part[i].peak));
    return gf_buf_str(b, "]}", err);
}

/* The lines of a .jsonl file as an array. They were written by this program, and are checked. */
static gf_status put_lines(const char *path, gf_buf *b, gf_err *err)
{
    char *text = NULL;
    size_t size = 0;
    int number = 1;
    gf_status st = gf_buf_str(b, ",\"samples\":[", err);
    if (st == GF_OK && gf_file_exists(path))
        st = gf_file_read(path, &text, &size, err);
    for (const char *at = text, *end; st == GF_OK && at && (end = strchr(at, '\n')); at = end + 1) {
        st = gf_json_check(at, (size_t)(end - at), path, number, err);
        if (st == GF_OK && number++ > 1)
            st = gf_buf_str(b, ",", err);
        if (st == GF_OK)
            st = gf_buf_add(b, at, (size_t)(end - at), err);
    }
    free(text);
    return st == GF_OK ? gf_buf_str(b, "]", err) : st;
}

static gf_status put_data(const gf_report *r, gf_buf *b, gf_err *err)
{
    char when[32];
    const time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    TRY(gf_buf_printf(b, err, "{\"state\":\"%s\",\"step\":%lld,\"total\":%lld,\"written\":\"%s\",",
                      r->state, (long long)r->step, (long long)r->total, when));
    TRY(gf_buf_str(b, "\"seconds\":", err));
    TRY(gf_json_number(b, r->seconds, err));
    TRY(gf_buf_printf(b, err, ",%s", r->facts));
    TRY(put_plan(r, b, err));
    TRY(gf_buf_str(b, ",\"curves\":", err));
    TRY(gf_curves_json(r->curves, b, err));
    TRY(put_lines(r->samples, b, err));
    return gf_buf_str(b, "}", err);
}

gf_status gf_report_write(const gf_report *r, const char *path, gf_err *err)
{
    gf_buf data = {0}, page = {0};
    const char *whole = (const char *)gf_report_page, *place = strstr(whole, PLACE);
    gf_status st = GF_OK;
    TRYG(put_data(r, &data, err));
    TRYG(gf_json_check(data.data, data.len, "the report's data", 1, err));
    TRYG(gf_buf_add(&page, whole, (size_t)(place - whole), err));
    TRYG(gf_report_escape(&page, data.data, data.len, err));
    TRYG(gf_buf_str(&page, place + sizeof PLACE - 1, err));
    TRYG(gf_file_write(path, page.data, page.len, err));
out:
    gf_buf_free(&data);
    gf_buf_free(&page);
    return st;
}
