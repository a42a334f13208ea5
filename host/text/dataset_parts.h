/* dataset_parts.h - what the parts of the data set reader share. */
#ifndef GRAFT_HOST_TEXT_DATASET_PARTS_H
#define GRAFT_HOST_TEXT_DATASET_PARTS_H

#include "text/dataset.h"

/* One record on its way to an example. */
typedef struct {
    const cJSON *json;
    const gf_data_options *opt;
    gf_example *e;
    gf_dataset *stats; /* NULL: nobody counts */
    gf_buf *rendered;  /* NULL: nobody wants the text */
    gf_turns *turns;   /* NULL: nobody looks at turns */
    const char *place; /* "FILE:LINE" */
    gf_err *err;
} gf_record;

/* "FILE:LINE: what" as GF_EINPUT. */
gf_status gf_record_fail(const gf_record *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* ids and labels (all -100) of t->count tokens. */
gf_status gf_record_tokens(const gf_record *r, const gf_tokens *t);
gf_status gf_record_need_tokenizer(const gf_record *r);
/* Counts an answer of so many trained tokens. */
void gf_record_answer(const gf_record *r, int64_t tokens);

/* The kinds of record. */
gf_status gf_conversation_example(const gf_record *r);       /* conversation.c */
gf_status gf_sharegpt_example(const gf_record *r);           /* sharegpt.c */
gf_status gf_alpaca_example(const gf_record *r);             /* pair.c */
gf_status gf_pair_example(const gf_record *r);               /* pair.c */
gf_status gf_text_example(const gf_record *r, bool guanaco); /* guanaco.c */
gf_status gf_token_example(const gf_record *r);              /* dataset_format.c */

/* Do Alpaca records get Alpaca's own prompt? pair.c */
bool gf_alpaca_is_text(const gf_data_options *opt);

/* Messages, with the tools and other columns of the record, to its example: assistants' turns from
 * number `first` (from 0) on are trained, unless --train-on says otherwise. conversation.c */
gf_status gf_messages_example(const gf_record *r, const cJSON *messages, int first);

/* Tokens of a text: an end token unless it ends with it; no second BOS where the text brings one.
 * guanaco.c */
gf_status gf_end_text(const gf_record *r, gf_tokens *t, size_t size);
void gf_drop_second_bos(const gf_record *r, gf_tokens *t);

/* Does a text begin with one of guanaco's markers? */
bool gf_guanaco_begins(const char *text);

/* The format of a record by its keys: never GF_DATA_AUTO. */
gf_status gf_data_detect(const cJSON *record, const char *place, gf_data_format *out, gf_err *err);

#endif
