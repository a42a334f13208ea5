/* answer.h - answers for generate and chat: where they stop, and their text as it comes. */
#ifndef GRAFT_HOST_CLI_ANSWER_H
#define GRAFT_HOST_CLI_ANSWER_H

#include <stdio.h>

#include "cli/session.h"
#include "infer/generate.h"

/* Tokens of a prompt that are fed at once: enough to fill the matrix products; activations of so
 * many are small beside any model. */
enum { GF_PROMPT_PIECE = 512 };

/* The ids that end an answer: those of the model's configuration, the tokenizer's end of text, and,
 * in a conversation, the control token that the template writes behind an assistant's turn
 * (<|im_end|>, <|eot_id|>, ...), found by rendering one. */
typedef struct {
    int32_t id[16]; /* 8 of the configuration, one of the tokenizer, one of the template */
    int count;
} gf_stops;
gf_status gf_stops_find(gf_stops *stops, gf_session *s, bool conversation, gf_err *err);

/* Sampling as the options have it. */
gf_sampling gf_sampling_of(const gf_options *o);

/* The text of new tokens, without special ones. `to` gets it as it comes (NULL: nobody does);
 * characters of which bytes are still missing wait for them. Zero-initialise with tokenizer and to;
 * free with gf_stream_free. */
typedef struct {
    gf_tokenizer *tokenizer;
    FILE *to;
    gf_tokens ids; /* new tokens that the tokenizer knows */
    int64_t context,
        shown; /* ids from `context` on are decoded again, those before `shown` printed */
    gf_status status;
    gf_err err;
} gf_stream;

/* One more token; false if decoding or printing it failed (stream->status). For
 * gf_generate_options.emit. */
bool gf_stream_add(void *stream, int32_t id);
/* Prints what still waits and appends the text of all new tokens to `text`. */
gf_status gf_stream_finish(gf_stream *stream, gf_buf *text, gf_err *err);
void gf_stream_free(gf_stream *stream);

#endif
