/* tiny_gguf.c - see tiny_gguf.h. The format: FORMATS 6. */
#include "support/tiny_gguf.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 64, FFN = 96, HEADS = 4, KV_HEADS = 2, HEAD = 16, LAYERS = 2, CONTEXT = 512 };
enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 }; /* value types */
enum { TENSOR_F32 = 0, TENSOR_Q8_0 = 8, BLOCK = 32, ALIGNMENT = 32 };

static const char *const merges[] = {"t h", "h e", "i n", "th e", "\xC4\xA0 the", "l l"};
static const char *const controls[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
enum { MERGES = 6, CONTROLS = 3, BYTES = 256, VOCAB = BYTES + MERGES + CONTROLS };

static const char chat[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n'"
    " }}{% endif %}";

typedef struct {
    char *at;
    size_t len, cap;
} bytes;

static void add(bytes *b, const void *data, size_t n)
{
    if (b->len + n > b->cap)
        b->at = realloc(b->at, b->cap = 2 * b->cap + n);
    if (n)
        memcpy(b->at + b->len, data, n);
    b->len += n;
}

static void add_u32(bytes *b, uint32_t x)
{
    add(b, &x, sizeof x);
}

static void add_u64(bytes *b, uint64_t x)
{
    add(b, &x, sizeof x);
}

static void add_string(bytes *b, const char *s)
{
    add_u64(b, strlen(s));
    add(b, s, strlen(s));
}

static void pad(bytes *b)
{
    static const char zeros[ALIGNMENT];
    add(b, zeros, (ALIGNMENT - b->len % ALIGNMENT) % ALIGNMENT);
}

static bool is(const char *name, const char *wanted)
{
    return wanted && strcmp(name, wanted) == 0;
}

/* ---- keys -------------------------------------------------------------------------- */

typedef struct {
    const tiny_gguf *how;
    bytes kv, info, data;
    uint64_t keys, tensors;
    uint32_t random;
} writer;

/* Appends a key with its value's bytes. */
static void key(writer *w, const char *name, uint32_t type, const bytes *value)
{
    const int times = is(name, w->how->without_key) ? 0 : is(name, w->how->key_twice) ? 2 : 1;
    for (int i = 0; i < times; i++) {
        add_string(&w->kv, name);
        add_u32(&w->kv, type);
        add(&w->kv, value->at, value->len);
        w->keys++;
    }
    free(value->at);
}

static void key_u32(writer *w, const char *name, uint32_t x)
{
    bytes b = {0};
    add_u32(&b, x);
    key(w, name, U32, &b);
}

static void key_f32(writer *w, const char *name, float x)
{
    bytes b = {0};
    add(&b, &x, sizeof x);
    key(w, name, F32, &b);
}

static void key_string(writer *w, const char *name, const char *s)
{
    bytes b = {0};
    add_string(&b, s);
    key(w, name, STRING, &b);
}

static void sizes(writer *w)
{
    const tiny_gguf *how = w->how;
    key_string(w, "general.architecture", how->architecture ? how->architecture : "llama");
    key_u32(w, "llama.block_count", LAYERS);
    key_u32(w, "llama.context_length", CONTEXT);
    key_u32(w, "llama.embedding_length", WIDTH);
    key_u32(w, "llama.feed_forward_length", FFN);
    key_u32(w, "llama.attention.head_count", HEADS);
    key_u32(w, "llama.attention.head_count_kv", KV_HEADS);
    key_u32(w, "llama.rope.dimension_count", HEAD);
    key_f32(w, "llama.rope.freq_base", 10000.0f);
    key_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (how->rope_scaling) {
        key_string(w, "llama.rope.scaling.type", how->rope_scaling);
        key_f32(w, "llama.rope.scaling.factor", 2.0f);
    }
}

/* A byte's character in the byte-level alphabet, as UTF-8 (FORMATS 3.4). */
static void byte_token(bytes *list, int byte)
{
    int point = byte, next = 0x100;
    for (int b = 0; b <= byte; b++) {
        const bool own = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        point = own ? b : next;
        next += !own;
    }
    char text[3] = {0};
    if (point < 0x80) {
        text[0] = (char)point;
    } else {
        text[0] = (char)(0xc0 | point >> 6);
        text[1] = (char)(0x80 | (point & 0x3f));
    }
    add_string(list, text);
}

static void tokenizer(writer *w)
{
    bytes tokens = {0}, types = {0}, pairs = {0};
    add_u32(&tokens, STRING);
    add_u64(&tokens, VOCAB);
    add_u32(&types, I32);
    add_u64(&types, VOCAB);
    add_u32(&pairs, STRING);
    add_u64(&pairs, MERGES);
    for (int i = 0; i < BYTES; i++)
        byte_token(&tokens, i);
    for (int i = 0; i < MERGES; i++) {
        char joined[16];
        const char *space = strchr(merges[i], ' ');
        snprintf(joined, sizeof joined, "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
        add_string(&tokens, joined);
        add_string(&pairs, merges[i]);
    }
    for (int i = 0; i < CONTROLS; i++)
        add_string(&tokens, controls[i]);
    for (int i = 0; i < VOCAB; i++)
        add_u32(&types, i < BYTES + MERGES ? 1 : 3); /* normal, control */
    key_string(w, "tokenizer.ggml.model", "gpt2");
    key_string(w, "tokenizer.ggml.pre", "smollm");
    key(w, "tokenizer.ggml.tokens", ARRAY, &tokens);
    key(w, "tokenizer.ggml.token_type", ARRAY, &types);
    key(w, "tokenizer.ggml.merges", ARRAY, &pairs);
    key_u32(w, "tokenizer.ggml.bos_token_id", VOCAB - 2);
    key_u32(w, "tokenizer.ggml.eos_token_id", VOCAB - 1);
    key_u32(w, "tokenizer.ggml.padding_token_id", VOCAB - 3);
    if (!w->how->no_template)
        key_string(w, "tokenizer.chat_template", chat);
}

/* ---- tensors ----------------------------------------------------------------------- */

static float uniform(writer *w)
{
    w->random = w->random * 1664525u + 1013904223u;
    return (float)(w->random >> 8) / (float)(1 << 23) - 1.0f;
}

/* Of a number from 0 to 1, not denormal. */
static uint16_t half_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return x < 0x1p-14f ? 0 : (uint16_t)(((u >> 13) & 0x3ff) | (((u >> 23) - 112) << 10));
}

static void add_q8_0(bytes *out, const float *x)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(x[i]));
    const float scale = most / 127.0f;
    const uint16_t d = half_of(scale);
    add(out, &d, sizeof d);
    for (int i = 0; i < BLOCK; i++) {
        const int8_t q = (int8_t)lroundf(scale > 0 ? x[i] / scale : 0);
        add(out, &q, 1);
    }
}

/* [rows, width], or [width] with rows 0: norms near 1, matrices about 0. */
static void tensor_once(writer *w, const char *name, int rows, int width)
{
    const tiny_gguf *how = w->how;
    const bool matrix = rows > 0, blocks = matrix && how->q8_0;
    const bool turned = is(name, how->reshaped);
    pad(&w->data);
    add_string(&w->info, name);
    add_u32(&w->info, matrix ? 2 : 1);
    add_u64(&w->info, (uint64_t)(turned ? rows : width));
    if (matrix)
        add_u64(&w->info, (uint64_t)(turned ? width : rows));
    add_u32(&w->info, is(name, how->renumbered) ? 77 : blocks ? TENSOR_Q8_0 : TENSOR_F32);
    add_u64(&w->info, w->data.len + (is(name, how->moved) ? ALIGNMENT : 0));
    w->tensors++;
    const int count = (matrix ? rows : 1) * width;
    float *x = malloc((size_t)count * sizeof *x);
    for (int i = 0; i < count; i++)
        x[i] = matrix ? uniform(w) * 0.2f : 1.0f + uniform(w) * 0.1f;
    if (is(name, how->poisoned))
        x[0] = NAN;
    for (int i = 0; blocks && i < count; i += BLOCK)
        add_q8_0(&w->data, x + i);
    if (!blocks)
        add(&w->data, x, (size_t)count * sizeof *x);
    free(x);
}

static void tensor(writer *w, const char *name, int rows, int width)
{
    if (is(name, w->how->without))
        return;
    tensor_once(w, name, rows, width);
    if (is(name, w->how->twice))
        tensor_once(w, name, rows, width);
}

static void model(writer *w)
{
    static const struct {
        const char *name;
        int rows, width;
    } part[] = {{"attn_norm", 0, WIDTH},
                {"attn_q", HEADS * HEAD, WIDTH},
                {"attn_k", KV_HEADS * HEAD, WIDTH},
                {"attn_v", KV_HEADS * HEAD, WIDTH},
                {"attn_output", WIDTH, HEADS * HEAD},
                {"ffn_norm", 0, WIDTH},
                {"ffn_gate", FFN, WIDTH},
                {"ffn_up", FFN, WIDTH},
                {"ffn_down", WIDTH, FFN}};
    tensor(w, "token_embd.weight", VOCAB, WIDTH);
    for (int l = 0; l < LAYERS; l++) {
        for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, part[i].name);
            tensor(w, name, part[i].rows, part[i].width);
        }
    }
    tensor(w, "output_norm.weight", 0, WIDTH);
    tensor(w, "output.weight", VOCAB, WIDTH);
    if (w->how->extra)
        tensor(w, w->how->extra, 0, WIDTH);
}

void tiny_gguf_write(const char *path, const tiny_gguf *how)
{
    static const tiny_gguf good;
    writer w = {.how = how ? how : &good, .random = 11};
    bytes out = {0};
    sizes(&w);
    if (!w.how->no_tokenizer)
        tokenizer(&w);
    model(&w);
    add(&out, "GGUF", 4);
    add_u32(&out, w.how->version ? (uint32_t)w.how->version : 3);
    add_u64(&out, w.tensors);
    add_u64(&out, w.keys);
    add(&out, w.kv.at, w.kv.len);
    add(&out, w.info.at, w.info.len);
    pad(&out);
    pad(&w.data);
    add(&out, w.data.at, w.data.len);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(out.at, 1, out.len, f) != out.len || fclose(f) != 0) {
        perror(path);
        abort();
    }
    free(out.at);
    free(w.kv.at);
    free(w.info.at);
    free(w.data.at);
}
