/* template.h - a small interpreter of the Jinja dialect that chat templates use (FORMATS 3.11):
 * sandboxed (no files, no attributes but data), bounded in steps, output and depth.
 *
 * As Jinja2 3.1 with trim_blocks and lstrip_blocks, but: integers have 64 bits and overflow is an
 * error; an unknown filter or test is an error when it is reached; filters such as map read their
 * input at once; list.append and its like work, which Python's sandbox refuses. Not there:
 * include, import, extends, block, autoescape, recursive loops, the filters pprint, slice,
 * wordwrap, xmlattr, urlize, striptags, filesizeformat, random. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_H
#define GRAFT_HOST_TEXT_TEMPLATE_H

#include "base/json.h"

typedef struct gf_template gf_template;

/* Parses. `where` names the template in messages. GF_EINPUT "WHERE:LINE: what". */
gf_status gf_template_parse(gf_template **t, const char *text, size_t size, const char *where,
                            gf_err *err);
void gf_template_free(gf_template *t);

/* Variables besides the messages. Any may be NULL. */
typedef struct {
    const cJSON *messages;  /* array of objects */
    const cJSON *tools;     /* NULL: none */
    const cJSON *documents; /* NULL: none */
    const char *bos_token, *eos_token, *pad_token, *unk_token;
    const cJSON *extra; /* object of further variables (enable_thinking, ...), or NULL */
    bool add_generation_prompt;
    int64_t first_messages; /* only the first so many messages; 0: all, < 0: none */
} gf_template_vars;

/* Renders into `out` (appended). What the template raises is GF_EINPUT with its message. Bounds: 10
 * million steps, 64 MiB of output and values, depth 200. strftime_now uses SOURCE_DATE_EPOCH (UTC)
 * if set. */
gf_status gf_template_render(const gf_template *t, const gf_template_vars *vars, gf_buf *out,
                             gf_err *err);

/* JSON numbers as a template prints them: 1.0 is not 1, and 2^60 + 1 has all its digits. cJSON
 * keeps doubles only, so this walks `text`, which `tree` was parsed from, and hangs the spelling of
 * such numbers on their items (valuestring, which cJSON_Delete frees). */
gf_status gf_template_numbers(cJSON *tree, const char *text, size_t size, gf_err *err);

#endif
