#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { WIDTH, HEAD, OUT_IN, OUT } shape_rule; /* [D], [K], [n,k], [n] */
typedef enum { ALWAYS, QKV_BIAS, O_BIAS, MLP_BIAS, QK_NORM } need_rule;

/* Tensors of a block, in the order in which Hugging Face's module tree has them. */
static const struct {
    const char *hf, *gguf;
    shape_rule shape;
    need_rule need;
    int linear;
} parts[] = {
    {"self_attn.q_proj.weight", "attn_q.weight", OUT_IN, ALWAYS, GF_Q},
    {"self_attn.q_proj.bias", "attn_q.bias", OUT, QKV_BIAS, GF_Q},
    {"self_attn.k_proj.weight", "attn_k.weight", OUT_IN, ALWAYS, GF_K},
    {"self_attn.k_proj.bias", "attn_k.bias", OUT, QKV_BIAS, GF_K},
    {"self_attn.v_proj.weight", "attn_v.weight", OUT_IN, ALWAYS, GF_V},
    {"self_attn.v_proj.bias", "attn_v.bias", OUT, QKV_BIAS, GF_V},
    {"self_attn.o_proj.weight", "attn_output.weight", OUT_IN, ALWAYS, GF_O},
    {"self_attn.o_proj.bias", "attn_output.bias", OUT, O_BIAS, GF_O},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", HEAD, QK_NORM, -1},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", HEAD, QK_NORM, -1},
    {"mlp.gate_proj.weight", "ffn_gate.weight", OUT_IN, ALWAYS, GF_GATE},
    {"mlp.gate_proj.bias", "ffn_gate.bias", OUT, MLP_BIAS, GF_GATE},
    {"mlp.up_proj.weight", "ffn_up.weight", OUT_IN, ALWAYS, GF_UP},
    {"mlp.up_proj.bias", "ffn_up.bias", OUT, MLP_BIAS, GF_UP},
    {"mlp.down_proj.weight", "ffn_down.weight", OUT_IN, ALWAYS, GF_DOWN},
    {"mlp.down_proj.bias", "ffn_down.bias", OUT, MLP_BIAS, GF_DOWN},
    {"input_layernorm.weight", "attn_norm.weight", WIDTH, ALWAYS, -1},
    {"post_attention_layernorm.weight", "ffn_norm.weight", WIDTH, ALWAYS, -1},
};
#define PARTS ((int64_t)(sizeof parts / sizeof parts[0]))

static const struct {
    const char *hf, *gguf;
} outer[] = {{"model.embed_tokens.weight", "token_embd.weight"},
             {"model.norm.weight", "output_norm.weight"},
             {"lm_head.weight", "output.weight"}};
#define OUTER (sizeof outer / sizeof outer[0])

static const char block_prefix[] = "model.layers.";

static bool needed(const gf_config *c, need_rule need)
{
    switch (need) {
    case QKV_BIAS:
        return c->attention_bias;
    case O_BIAS:
        return c->output_bias;
    case MLP_BIAS:
        return c->mlp_bias;
    case QK_NORM:
        return c->qk_norm;
    case ALWAYS:
        break;
    }
    return true;
}

static int64_t in_block(const gf_config *c)
{
    int64_t count = 0;
    for (int64_t p = 0; p < PARTS; p++)
        count += needed(c, parts[p].need);
    return count;
}

int64_t gf_names_count(const gf_config *c)
{
    return 1 + c->L * in_block(c) + 1 + (c->tied ? 0 : 1); /* embedding, blocks, norm, head */
}

static void block_name(gf_name *out, const gf_config *c, int64_t layer, int64_t index)
{
    int64_t p = 0;
    while (!needed(c, parts[p].need) || index-- > 0)
        p++;
    snprintf(out->name, sizeof out->name, "%s%lld.%s", block_prefix, (long long)layer, parts[p].hf);
    snprintf(out->gguf, sizeof out->gguf, "blk.%lld.%s", (long long)layer, parts[p].gguf);
    out->layer = layer;
    out->linear = parts[p].linear;
    out->rank = 1;
    out->dim[1] = 1;
    switch (parts[p].shape) {
    case WIDTH:
        out->dim[0] = c->D;
        break;
    case HEAD:
        out->dim[0] = c->K;
        break;
    case OUT_IN:
        out->rank = 2;
        gf_module_shape(c, (gf_linear_id)parts[p].linear, &out->dim[0], &out->dim[1]);
        break;
    case OUT: {
        int64_t k = 0;
        gf_module_shape(c, (gf_linear_id)parts[p].linear, &out->dim[0], &k);
        break;
    }
    }
}

void gf_names_get(gf_name *out, const gf_config *c, int64_t i)
{
    const int64_t blocks = c->L * in_block(c);
    *out = (gf_name){0};
    if (i >= 1 && i <= blocks) {
        block_name(out, c, (i - 1) / in_block(c), (i - 1) % in_block(c));
        return;
    }
    const int64_t o = i == 0 ? 0 : i - blocks;
    snprintf(out->name, sizeof out->name, "%s", outer[o].hf);
    snprintf(out->gguf, sizeof out->gguf, "%s", outer[o].gguf);
    out->layer = -1;
    out->linear = -1;
    out->rank = o == 1 ? 1 : 2; /* 1: the norm */
    out->dim[0] = o == 1 ? c->D : c->V;
    out->dim[1] = o == 1 ? 1 : c->D;
}

bool gf_names_to_gguf(char out[64], const char *name)
{
    for (size_t i = 0; i < OUTER; i++) {
        if (strcmp(name, outer[i].hf) == 0) {
            snprintf(out, 64, "%s", outer[i].gguf); /* 64: the array's size */
            return true;
        }
    }
    const size_t skip = sizeof block_prefix - 1;
    if (strncmp(name, block_prefix, skip) != 0 || name[skip] < '0' || name[skip] > '9')
        return false;
    char *end = NULL;
    const long long layer = strtoll(name + skip, &end, 10);
    if (*end != '.')
        return false;
    for (int64_t p = 0; p < PARTS; p++) {
        if (strcmp(end + 1, parts[p].hf) == 0) {
            snprintf(out, 64, "blk.%lld.%s", layer, parts[p].gguf); /* 64: the array's size */
            return true;
        }
    }
    return false;
}

const char *gf_module_name(char buf[64], int64_t layer, gf_linear_id id)
{
    static const char *const names[GF_LINEARS] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    snprintf(buf, 64, "%s%lld.%s", block_prefix, (long long)layer, names[id]); /* 64: its size */
    return buf;
}

void gf_module_shape(const gf_config *c, gf_linear_id id, int64_t *n, int64_t *k)
{
    *n = c->F;
    *k = c->D;
    switch (id) {
    case GF_Q:
        *n = c->H * c->K;
        break;
    case GF_K:
    case GF_V:
        *n = c->G * c->K;
        break;
    case GF_O:
        *n = c->D;
        *k = c->H * c->K;
        break;
    case GF_DOWN:
        *n = c->D;
        *k = c->F;
        break;
    case GF_GATE:
    case GF_UP:
    case GF_LINEARS:
        break;
    }
}
