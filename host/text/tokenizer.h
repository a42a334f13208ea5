/* tokenizer.h - byte-level BPE and SentencePiece-style BPE with byte fallback, from tokenizer.json
 * or from a GGUF's metadata (FORMATS 3, 6.3). One object for training, evaluation, generation,
 * export. */
#ifndef GRAFT_HOST_TEXT_TOKENIZER_H
#define GRAFT_HOST_TEXT_TOKENIZER_H

#include "format/gguf_write.h"
#include "graft/base.h"

/* Encoding, decoding and gf_tokenizer_pieces use work space inside: one thread at a time. */
typedef struct gf_tokenizer gf_tokenizer;

/* From DIR/tokenizer.json (with DIR/tokenizer_config.json, special_tokens_map.json where present,
 * for bos/eos/pad/unk), or from GGUF metadata. What is not supported is named: GF_EMISSING. */
gf_status gf_tokenizer_open(gf_tokenizer **t, const char *dir, gf_err *err);
gf_status gf_tokenizer_open_gguf(gf_tokenizer **t, const gf_gguf *g, gf_err *err);
void gf_tokenizer_free(gf_tokenizer *t);

/* Token ids with the byte where each token starts in the text that was given. Starts never go back.
 * Tokens that a post-processor adds start at 0 or at the text's end; a prepended space where the
 * text behind it does; the parts of a character in bytes at their own byte; what a normal form
 * changed at the first byte of the base character with its marks. */
typedef struct {
    int32_t *id;
    int64_t *start;
    int64_t count, cap;
} gf_tokens;

/* Appends to `out`. `text` is checked to be UTF-8 (GF_EINPUT with the byte). add_special runs the
 * post-processor (BOS ...). */
gf_status gf_tokenizer_encode(gf_tokenizer *t, const char *text, size_t size, bool add_special,
                              gf_tokens *out, gf_err *err);
/* Appends the text of ids to `out`; with skip_special, special tokens are left out. An id outside
 * the vocabulary is GF_EINPUT. */
gf_status gf_tokenizer_decode(gf_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special,
                              gf_buf *out, gf_err *err);
void gf_tokens_free(gf_tokens *t);

/* What normalizer and pre-tokenizer make of the whole text, added tokens not split off: pieces
 * separated by '\n' are not possible, so each piece is passed to `emit`. For tests. */
gf_status gf_tokenizer_pieces(gf_tokenizer *t, const char *text, size_t size,
                              gf_status (*emit)(void *ctx, const char *piece, size_t n), void *ctx,
                              gf_err *err);

int32_t gf_tokenizer_size(const gf_tokenizer *t);                  /* highest id + 1 */
int32_t gf_tokenizer_id(const gf_tokenizer *t, const char *token); /* -1: no such token */
const char *gf_tokenizer_token(const gf_tokenizer *t, int32_t id); /* NULL: none */
bool gf_tokenizer_is_special(const gf_tokenizer *t, int32_t id);
int32_t gf_tokenizer_bos(const gf_tokenizer *t); /* -1: none; likewise below */
int32_t gf_tokenizer_eos(const gf_tokenizer *t);
int32_t gf_tokenizer_pad(const gf_tokenizer *t);
int32_t gf_tokenizer_unk(const gf_tokenizer *t);
/* Does encode(..., add_special) put BOS first? EOS last? */
bool gf_tokenizer_adds_bos(const gf_tokenizer *t);
bool gf_tokenizer_adds_eos(const gf_tokenizer *t);

/* The chat template's text: chat_template.jinja, else tokenizer_config.json's, or the GGUF's
 * tokenizer.chat_template. NULL: the model has none. */
const char *gf_tokenizer_template(const gf_tokenizer *t);

/* Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat_template.jinja to
 * `dir`: copies where the tokenizer came from a folder, else written from the GGUF's metadata so
 * that transformers and this reader give the same ids. `chat_template` replaces the template's text
 * if not NULL. */
gf_status gf_tokenizer_save(const gf_tokenizer *t, const char *dir, const char *chat_template,
                            gf_err *err);

/* What of a model stands in a GGUF's tokenizer keys. */
typedef struct {
    int64_t vocabulary;        /* rows of the embedding; ids without a token become unused ones */
    const char *chat_template; /* replaces the tokenizer's own if not NULL */
    const int32_t *end;        /* [ends] ids that end an answer: what is not eos becomes eot, eom */
    int ends;
} gf_tokenizer_gguf;

/* Appends the keys tokenizer.ggml.* and tokenizer.chat_template as llama.cpp reads them. A pipeline
 * for which GGUF has no name, or one that adds other tokens than bos and eos: GF_EMISSING; more
 * tokens than rows: GF_EINPUT. *note: what GGUF cannot say, so that llama.cpp does otherwise in
 * rare texts, as a clause for a warning; or NULL. */
gf_status gf_tokenizer_put_gguf(gf_tokenizer *t, const gf_tokenizer_gguf *model, gf_gguf_keys *keys,
                                const char **note, gf_err *err);

#endif
