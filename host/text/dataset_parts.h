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
    const char *place; /* "FILE:LINE" */
    gf_err *err;
} gf_record;

/* "FILE:LINE: what" as GF_EINPUT. */
gf_status gf_record_fail(const gf_record *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* ids and labels (all -100) of t->count tokens. */
gf_status gf_record_tokens(const gf_record *r, const gf_tokens *t);
gf_status gf_record_need_tokenizer(const gf_record *r);

/* The three kinds of record. */
gf_status gf_conversation_example(const gf_record *r);       /* conversation.c */
gf_status gf_text_example(const gf_record *r, bool guanaco); /* guanaco.c */
gf_status gf_token_example(const gf_record *r);              /* dataset_format.c */

/* Does a text begin with one of guanaco's markers? */
bool gf_guanaco_begins(const char *text);

/* The format of a record by its keys: never GF_DATA_AUTO. */
gf_status gf_data_detect(const cJSON *record, const char *place, gf_data_format *out, gf_err *err);
const char *gf_data_format_name(gf_data_format f);

/* The records of a file, one after the other, each with the line where it begins. */
typedef gf_status (*gf_record_fn)(void *ctx, cJSON *record, int64_t line, gf_err *err);
gf_status gf_records_read(const char *path, gf_record_fn fn, void *ctx, gf_err *err);

#endif
