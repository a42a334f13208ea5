/* refusal.h - bad input to the real program: one thing is spoiled in a folder of good files, one
 * command is run there, and it must be refused with one line and exit code 2 and write nothing. */
#ifndef GRAFT_TESTS_SUPPORT_REFUSAL_H
#define GRAFT_TESTS_SUPPORT_REFUSAL_H

#include "support/spoil.h"
#include "support/tiny_gguf.h"

/* The folder holds model/ (Hugging Face, 97 tokens, no tokenizer), adapter/ for it, tokens.jsonl,
 * tiny.gguf with a tokenizer and a template, text.jsonl and chat.jsonl for it. */
#define TRAIN "train --model model --data tokens.jsonl --output-dir out --max-steps 1 "
#define EVAL "eval --model model --data tokens.jsonl --per-example each.jsonl "
#define ADAPTED EVAL "--adapter adapter "
#define MERGE "merge --model model --adapter adapter --output-dir out "
#define TRAIN_GGUF "train --model tiny.gguf --data text.jsonl --output-dir out --max-steps 1 "
#define TRAIN_CHAT "train --model tiny.gguf --data chat.jsonl --output-dir out --max-steps 1 "

typedef struct {
    const char *command;
    const char *words[4]; /* all stand in the message */
    const char *shell;    /* spoils: a shell command line, if not NULL */
    const char *tensor;   /* spoils: a tensor of model/, or of adapter/ if it is an adapter's */
    spoil_how how;
    const char *value;
    tiny_gguf gguf; /* spoils: how tiny.gguf is written */
} refusal;

/* Most entries spoil one thing and leave the other fields out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* Runs the whole table; every failure is reported, then the test fails. Skips without the
 * reference cases. */
void refusal_check(const refusal *table, int count);

#define CHECK(table) refusal_check(table, (int)(sizeof(table) / sizeof *(table)))

#endif
