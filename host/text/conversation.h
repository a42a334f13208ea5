/* conversation.h - a conversation on its way to an example: what its parts share. Inside host/text
 * only. */
#ifndef GRAFT_HOST_TEXT_CONVERSATION_H
#define GRAFT_HOST_TEXT_CONVERSATION_H

#include "text/dataset_parts.h"

typedef struct {
    const gf_record *r;
    const cJSON *messages;
    cJSON *own;   /* a copy of the messages, where contents of parts were joined */
    cJSON *tools; /* parsed from a string, or NULL */
    gf_template_vars vars;
    gf_buf whole; /* the rendering of all messages */
    gf_tokens t;  /* of `whole` */
} gf_conversation;

/* A member of an object; NULL if it is null, too. */
static inline const cJSON *gf_member(const cJSON *j, const char *key)
{
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(j, key);
    return cJSON_IsNull(e) ? NULL : e;
}

/* Does the data ask for the turn to be trained: no "weight", "loss" or "train" that says no? */
bool gf_turn_wanted(const cJSON *message);
bool gf_turn_is_assistant(const cJSON *message);

/* Renders the first n messages into `out` (emptied before). `what`, if not NULL, names the turn in
 * errors. */
gf_status gf_conversation_render(gf_conversation *c, int n, bool prompt, gf_buf *out,
                                 const char *what);

/* Appends a message, or the record's "system" as one, if it has any. */
gf_status gf_add_message(const gf_record *r, cJSON *messages, const char *role,
                         const char *content);
gf_status gf_add_system(const gf_record *r, cJSON *messages);

/* Labels the assistants' turns from number `first` (from 0) on, and lists all turns if the record
 * wants them. conversation_turns.c */
gf_status gf_conversation_label(gf_conversation *c, int first);

/* Does the turn's content stand in whole[from, to); or at least its last line, or what follows a
 * tag such as </think> or [/THINK]: templates leave reasoning out, and quote. */
bool gf_content_occurs(const gf_conversation *c, const cJSON *message, size_t from, size_t to);

/* Law 1: GF_EINPUT with the turn if something given is not in the rendering: a tool, a call, or the
 * content of a turn that is not an assistant's (theirs are looked for where they are
 * labelled). conversation_content.c */
gf_status gf_conversation_check(gf_conversation *c);

#endif
