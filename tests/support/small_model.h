/* small_model.h - a model folder that has everything: the weights of a reference case, a tokenizer
 * of single characters for its 97 ids, and a ChatML template. */
#ifndef GRAFT_TESTS_SUPPORT_SMALL_MODEL_H
#define GRAFT_TESTS_SUPPORT_SMALL_MODEL_H

/* A model of three layers and V = 97; bos 1 <|im_start|>, eos 2 <|im_end|>. */
#define SMALL_CASE GRAFT_TESTS "/golden/cases/llama-gqa"
#define SMALL_ADAPTER SMALL_CASE "/adapter-trained"

/* Makes DIR/small and returns its path (the caller's). DIR is there. */
char *small_model(const char *dir);

/* DIR/data.jsonl: `examples` examples of token ids below 93, of 3 to most + 2 tokens, lengths that
 * go by `stride` (modulo most): the same for the same numbers. The path is the caller's. */
char *small_tokens(const char *dir, int examples, int stride, int most);

/* DIR/name with this text; the path is the caller's. */
char *small_file(const char *dir, const char *name, const char *text);

#endif
