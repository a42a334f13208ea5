/* dataset.h - data files to examples: read, render, tokenize, label (DESIGN 2.2). */
#ifndef GRAFT_HOST_TEXT_DATASET_H
#define GRAFT_HOST_TEXT_DATASET_H

#include "text/template.h"
#include "text/tokenizer.h"

typedef enum {
    GF_DATA_AUTO,
    GF_DATA_MESSAGES,
    GF_DATA_GUANACO,
    GF_DATA_TEXT,
    GF_DATA_TOKENS
} gf_data_format;
typedef enum {
    GF_TRAIN_DEFAULT,
    GF_TRAIN_ASSISTANT,
    GF_TRAIN_COMPLETION,
    GF_TRAIN_ALL
} gf_train_on;
typedef enum { GF_OVERLENGTH_ERROR, GF_OVERLENGTH_TRUNCATE, GF_OVERLENGTH_DROP } gf_overlength;

typedef struct {
    gf_tokenizer *tokenizer; /* NULL is fine for the tokens format */
    gf_template *chat;       /* NULL: the model has none; messages are then an error */
    int64_t vocab;           /* V of the model: ids must be below */
    gf_data_format format;
    gf_train_on train_on;
    gf_overlength overlength;
    int64_t max_length; /* tokens */
} gf_data_options;

/* Labels: label[t] is ids[t] where trained, else -100. Label 0 is never counted (nothing predicts
 * it) but kept as the data has it. */
typedef struct {
    int32_t *ids, *labels;
    int64_t length, trained; /* trained: labels != -100 other than label 0 */
    const char *file;        /* where it stands; not owned by the example */
    int64_t line;            /* 1-based; for a .json array the line on which the element starts */
} gf_example;

typedef struct {
    gf_example *example;
    int64_t count, cap;
    int64_t dropped, truncated; /* over max_length, as asked for */
    int64_t prefix_mismatch; /* trained turns whose prompt, or which themselves, the whole renders
                              * differently, as templates do that drop earlier reasoning */
    int64_t no_end_token;    /* trained turns without a control token at their end */
    int64_t trained_turns;   /* of conversations */
    char **files;
    int file_count;
} gf_dataset;

/* Reads every file (.json: array or one object; .jsonl: one object a line, empty lines skipped) and
 * appends its examples. Errors name file and line: malformed, empty, no trained token, over-length,
 * ids outside V. GF_DATA_AUTO: each file's first record decides, the others must be alike. A format
 * that this version lacks is GF_EMISSING; a train_on that the format has no meaning
 * for, GF_EARG. */
gf_status gf_dataset_load(gf_dataset *d, char *const *files, int count, const gf_data_options *opt,
                          gf_err *err);
void gf_dataset_free(gf_dataset *d);

/* One conversation (array of messages, or object with "messages" and perhaps "tools",
 * "chat_template_kwargs") or other record of the formats above, to one example; for `graft
 * tokenize`. e->file and e->line, if given, name the record in errors. No trained token and
 * over-length are no errors here. A content of text parts is their texts joined. `rendered` gets
 * the text if not NULL, `stats` is counted into if not NULL. ids and labels are the caller's to
 * free. */
gf_status gf_dataset_example(gf_example *e, gf_buf *rendered, const cJSON *record,
                             const gf_data_options *opt, gf_dataset *stats, gf_err *err);

#endif
