/* dataset.h - data files to examples: read, render, tokenize, label (DESIGN 2.2). */
#ifndef GRAFT_HOST_TEXT_DATASET_H
#define GRAFT_HOST_TEXT_DATASET_H

#include "text/template.h"
#include "text/token_store.h"
#include "text/tokenizer.h"

typedef enum {
    GF_DATA_AUTO,
    GF_DATA_MESSAGES,
    GF_DATA_GUANACO,
    GF_DATA_TEXT,
    GF_DATA_TOKENS,
    GF_DATA_SHAREGPT,
    GF_DATA_ALPACA,
    GF_DATA_PAIRS
} gf_data_format;
typedef enum {
    GF_TRAIN_DEFAULT,
    GF_TRAIN_ASSISTANT,
    GF_TRAIN_COMPLETION,
    GF_TRAIN_ALL
} gf_train_on;
typedef enum { GF_OVERLENGTH_ERROR, GF_OVERLENGTH_TRUNCATE, GF_OVERLENGTH_DROP } gf_overlength;

/* Alpaca records: as a chat where there is a chat template, else with the Alpaca prompt. */
typedef enum { GF_ALPACA_AUTO, GF_ALPACA_CHAT, GF_ALPACA_TEXT } gf_alpaca;

typedef struct gf_example gf_example;

/* A turn of a conversation: its tokens end before `end`, and begin where the one before ends. */
typedef struct {
    char role[24];
    int64_t end;
} gf_turn;
typedef struct {
    gf_turn *turn;
    int count; /* 0: the record is no conversation */
} gf_turns;

/* Looks at an example as it is read: its number, itself, its turns. */
typedef gf_status (*gf_example_fn)(void *ctx, int64_t number, const gf_example *e,
                                   const gf_turns *turns, gf_err *err);

typedef struct {
    gf_tokenizer *tokenizer; /* NULL is fine for the tokens format */
    gf_template *chat;       /* NULL: the model has none; messages are then an error */
    int64_t vocab;           /* V of the model: ids must be below */
    gf_data_format format;
    gf_train_on train_on;
    gf_overlength overlength;
    int64_t max_length; /* tokens */
    gf_alpaca alpaca;
    bool lenient;  /* a template may leave out tools, calls and turns that are not trained */
    int64_t looks; /* so many of the first examples are shown to `look` */
    gf_example_fn look;
    void *look_ctx;
} gf_data_options;

/* Labels: label[t] is ids[t] where trained, else -100. Label 0 is never counted (nothing predicts
 * it) but kept as the data has it. */
struct gf_example {
    int32_t *ids, *labels;
    int64_t length, trained; /* trained: labels != -100 other than label 0 */
    const char *file;        /* where it stands; not owned by the example */
    int64_t line;            /* 1-based; for a .json array the line on which the element starts */
    uint64_t text; /* gf_loose_hash of what was tokenized; without a text a hash of the ids */
};

enum { GF_SHORT_ANSWER = 2 }; /* tokens: one word and the end token */

/* What lies in memory of each example; its tokens are in the store. */
typedef struct {
    int64_t at; /* gf_token_store_at */
    uint64_t text;
    int32_t length, trained, line, source;
} gf_data_entry;

/* One of the files that a data set was read from. */
typedef struct {
    char *path;
    double weight;              /* share of its examples in an epoch, see below */
    int64_t examples;           /* of it in the data set */
    int64_t dropped, truncated; /* over max_length, as asked for */
    gf_data_format format;      /* what the records are */
    bool alpaca_text;           /* Alpaca records with their own prompt, not as chats */
} gf_data_file;

typedef struct {
    gf_data_entry *entry;
    int64_t count, cap;
    gf_token_store *store;
    gf_data_file *source;
    int source_count;
    bool borrows;               /* store and paths are another data set's, which lives longer */
    bool weighted;              /* a source's weight is not 1 */
    int64_t dropped, truncated; /* over max_length, as asked for */
    int64_t prefix_mismatch; /* trained turns whose prompt, or which themselves, the whole renders
                              * differently, as templates do that drop earlier reasoning */
    int64_t no_end_token;    /* trained turns without a control token at their end */
    int64_t trained_turns;   /* of conversations */
    int64_t short_answers;  /* of conversations and pairs: at most GF_SHORT_ANSWER trained tokens */
    const char *short_file; /* where the first of them stands */
    int64_t short_line;
} gf_dataset;

/* Reads every file (.json: array or one object; .jsonl: one object a line, empty lines skipped) and
 * appends its examples. Errors name file and line: malformed, empty, no trained token, over-length,
 * ids outside V. GF_DATA_AUTO: each file's first record decides, the others must be alike. A
 * train_on that the format has no meaning
 * for, GF_EARG. */
gf_status gf_dataset_load(gf_dataset *d, char *const *files, int count, const gf_data_options *opt,
                          gf_err *err);
void gf_dataset_free(gf_dataset *d);

/* A view of example i in [0, count): valid as long as the data set. */
gf_example gf_dataset_at(const gf_dataset *d, int64_t i);
/* For data sets made by hand: a file's name, and an example of the file named last; after the last
 * one gf_token_store_seal(d->store). */
gf_status gf_dataset_add_file(gf_dataset *d, const char *path, gf_err *err);
gf_status gf_dataset_add(gf_dataset *d, const gf_example *e, gf_err *err);

/* Weights of the sources, in their order, each > 0: an epoch takes round(weight * examples) of a
 * source's examples, at least one: all of them as often as that number holds their count, and a
 * draw without replacement, anew in each epoch, for the rest. GF_EARG: not `count` sources. */
gf_status gf_dataset_weigh(gf_dataset *d, const double *weight, int count, gf_err *err);
/* Examples that an epoch takes of n with this weight. */
int64_t gf_dataset_share(double weight, int64_t n);
/* Examples of an epoch of the whole. */
int64_t gf_dataset_epoch(const gf_dataset *d);
/* Tokens of an epoch: all, and trained ones; with weights as the shares have them on average. */
void gf_dataset_tokens(const gf_dataset *d, int64_t *tokens, int64_t *trained);
/* Tokens of the longest example; 0: there is none. */
int64_t gf_dataset_longest(const gf_dataset *d);

/* A hash that texts share which differ only in case and white space. Not UTF-8 is taken as bytes.
 */
uint64_t gf_loose_hash(const char *text, size_t size);

/* "sharegpt", as --data-format has it. */
const char *gf_data_format_name(gf_data_format f);

/* One conversation (array of messages, or object with "messages" and perhaps "tools",
 * "chat_template_kwargs") or other record of the formats above, to one example; for `graft
 * tokenize`. e->file and e->line, if given, name the record in errors. No trained token and
 * over-length are no errors here. A
 * content of text parts is their texts joined. `rendered` gets the text if not NULL, `stats` is
 * counted into if not NULL. ids and labels are the caller's to free. */
gf_status gf_dataset_example(gf_example *e, gf_buf *rendered, const cJSON *record,
                             const gf_data_options *opt, gf_dataset *stats, gf_err *err);

#endif
