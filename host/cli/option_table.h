/* option_table.h - options.def as data: what a name means, and how a text becomes a value. Inside
 * host/cli only; the rest sees options.h. */
#ifndef GRAFT_HOST_CLI_OPTION_TABLE_H
#define GRAFT_HOST_CLI_OPTION_TABLE_H

#include "cli/options.h"

typedef enum {
    GF_OPT_PATH,
    GF_OPT_TEXT,
    GF_OPT_INT,
    GF_OPT_REAL,
    GF_OPT_SIZE,
    GF_OPT_FLAG,
    GF_OPT_CHOICE,
    GF_OPT_LIST,
    GF_OPT_RESUME
} gf_option_kind;

enum { GF_OPT_LATER = 1, GF_OPT_FREE = 2, GF_OPT_AUTO = 4, GF_OPT_WORD = 8 };

typedef struct {
    const char *name; /* with underscores, without the one at a field's end */
    gf_option_kind kind;
    unsigned commands, required; /* bits 1 << gf_command */
    const char *preset;          /* the default's text, or NULL */
    const char *range;           /* interval or choices, or NULL */
    unsigned notes;
    const char *help;
    size_t value, given; /* offsets in gf_options */
} gf_option;

const gf_option *gf_option_at(int i); /* in the table's order; NULL after the last */

/* The option of a command by name, dashes and underscores alike; NULL: none. */
const gf_option *gf_option_find(const char *name, size_t length, gf_command command);
/* The same whatever the command. */
const gf_option *gf_option_anywhere(const char *name, size_t length);
/* The command's option with the smallest edit distance to `name`. */
const gf_option *gf_option_nearest(const char *name, size_t length, gf_command command);
/* The option that a bare word of this command is the value of; NULL: none. */
const gf_option *gf_option_word(gf_command command);

const char *gf_command_name(gf_command c);
const char *gf_command_help(gf_command c);
bool gf_command_is_here(gf_command c);
/* GF_COMMANDS: no such command. */
gf_command gf_command_find(const char *name);
gf_command gf_command_nearest(const char *name);

/* Sets an option from its text. `where` leads the message: "--lora-r" or "FILE: lora_r". `given` is
 * not touched. GF_EARG: not a value of this option; GF_EMISSING: a choice of a later version. */
gf_status gf_option_set(gf_options *o, const gf_option *p, const char *text, const char *where,
                        gf_err *err);

/* Copies the n-th choice of "a|!b|c" (without '!') to `out`; false past the last. */
bool gf_option_choice_at(const char *range, int n, char out[64], bool *here);

static inline void *gf_option_value(const gf_options *o, const gf_option *p)
{
    return (char *)(uintptr_t)o + p->value;
}
static inline bool *gf_option_given(const gf_options *o, const gf_option *p)
{
    return (bool *)((char *)(uintptr_t)o + p->given);
}

/* "--lora-r" from "lora_r". */
typedef struct {
    char text[80];
} gf_option_flag;
gf_option_flag gf_option_written(const char *name);
/* What stands for its value in help: "N", "PATH"; "" for a flag. */
const char *gf_option_placeholder(const gf_option *p);
/* Its help with choices, range and default, as one sentence. Appends to `text`. */
gf_status gf_option_explain(gf_buf *text, const gf_option *p, gf_command c, gf_err *err);

/* Is text the n bytes of name, a dash being an underscore? */
bool gf_option_same(const char *name, const char *text, size_t n);

#endif
