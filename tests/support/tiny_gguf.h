/* tiny_gguf.h - a small GGUF of a Llama model with a byte-level tokenizer and a chat template, made
 * here so that tests need no download. */
#ifndef GRAFT_TESTS_SUPPORT_TINY_GGUF_H
#define GRAFT_TESTS_SUPPORT_TINY_GGUF_H

#include <stdbool.h>

/* Sizes: D 64, F 96, 4 heads over 2, 2 layers, 256 bytes + merges + 3 control tokens. All zero is
 * the good file; the rest is what can be wrong with it. */
typedef struct {
    bool q8_0;                /* matrices in blocks of Q8_0 instead of F32 */
    const char *architecture; /* instead of "llama" */
    const char *rope_scaling; /* llama.rope.scaling.type */
    const char *without;      /* this tensor is left out */
    const char *extra;        /* this 1-d tensor is there, too */
    const char *twice;        /* this tensor is there twice */
    const char *reshaped;     /* this 2-d tensor is transposed */
    const char *renumbered;   /* this tensor has a type number that does not exist */
    const char *moved;        /* this tensor's offset is 32 too high */
    const char *without_key;  /* this key is left out */
    const char *key_twice;    /* this key is there twice */
    const char *poisoned;     /* this tensor's first number is NaN */
    int version;              /* instead of 3 */
    bool no_template, no_tokenizer;
} tiny_gguf;

void tiny_gguf_write(const char *path, const tiny_gguf *how);

#endif
