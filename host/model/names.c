#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    WIDTH,
    QUERY,
    KEY,
    OUT_IN,
    OUT
} shape_rule; /* [D]; a norm's of q or k; [n,k]; [n] */
typedef enum {
    ALWAYS,
    APART, /* q, k, v and gate, up as layers of their own */
    FUSED,
    QKV_BIAS,
    O_BIAS,
    MLP_BIAS,
    QK_NORM,
    BEFORE, /* a norm before each branch */
    ONLY_BEFORE,
    BOTH_SIDES, /* of a branch */
    BEHIND
} need_rule;

/* Tensors of a block, in the order in which Hugging Face's module tree has them. */
static const struct {
    const char *hf, *gguf;
    shape_rule shape;
    need_rule need;
    int linear, norm; /* gf_linear_id, gf_norm_id; -1 */
} parts[] = {
    {"self_attn.q_proj.weight", "attn_q.weight", OUT_IN, APART, GF_Q, -1},
    {"self_attn.q_proj.bias", "attn_q.bias", OUT, QKV_BIAS, GF_Q, -1},
    {"self_attn.k_proj.weight", "attn_k.weight", OUT_IN, APART, GF_K, -1},
    {"self_attn.k_proj.bias", "attn_k.bias", OUT, QKV_BIAS, GF_K, -1},
    {"self_attn.v_proj.weight", "attn_v.weight", OUT_IN, APART, GF_V, -1},
    {"self_attn.v_proj.bias", "attn_v.bias", OUT, QKV_BIAS, GF_V, -1},
    {"self_attn.o_proj.weight", "attn_output.weight", OUT_IN, ALWAYS, GF_O, -1},
    {"self_attn.o_proj.bias", "attn_output.bias", OUT, O_BIAS, GF_O, -1},
    {"self_attn.qkv_proj.weight", "attn_qkv.weight", OUT_IN, FUSED, GF_QKV, -1},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", QUERY, QK_NORM, -1, GF_NORM_Q},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", KEY, QK_NORM, -1, GF_NORM_K},
    {"mlp.gate_proj.weight", "ffn_gate.weight", OUT_IN, APART, GF_GATE, -1},
    {"mlp.gate_proj.bias", "ffn_gate.bias", OUT, MLP_BIAS, GF_GATE, -1},
    {"mlp.up_proj.weight", "ffn_up.weight", OUT_IN, APART, GF_UP, -1},
    {"mlp.up_proj.bias", "ffn_up.bias", OUT, MLP_BIAS, GF_UP, -1},
    {"mlp.gate_up_proj.weight", "ffn_up.weight", OUT_IN, FUSED, GF_GATE_UP, -1},
    {"mlp.down_proj.weight", "ffn_down.weight", OUT_IN, ALWAYS, GF_DOWN, -1},
    {"mlp.down_proj.bias", "ffn_down.bias", OUT, MLP_BIAS, GF_DOWN, -1},
    {"input_layernorm.weight", "attn_norm.weight", WIDTH, BEFORE, -1, GF_NORM_ATTENTION},
    {"post_attention_layernorm.weight", "ffn_norm.weight", WIDTH, ONLY_BEFORE, -1, GF_NORM_MLP},
    {"post_attention_layernorm.weight", "post_attention_norm.weight", WIDTH, BEHIND, -1,
     GF_NORM_ATTENTION_POST},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight", WIDTH, BOTH_SIDES, -1, GF_NORM_MLP},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight", WIDTH, BEHIND, -1,
     GF_NORM_MLP_POST},
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
    case APART:
        return !c->fused;
    case FUSED:
        return c->fused;
    case QKV_BIAS:
        return c->attention_bias;
    case O_BIAS:
        return c->output_bias;
    case MLP_BIAS:
        return c->mlp_bias;
    case QK_NORM:
        return c->qk_norm != GF_QK_NONE;
    case BEFORE:
        return c->norms != GF_NORMS_POST;
    case ONLY_BEFORE:
        return c->norms == GF_NORMS_PRE;
    case BOTH_SIDES:
        return c->norms == GF_NORMS_SANDWICH;
    case BEHIND:
        return c->norms != GF_NORMS_PRE;
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
    out->gguf_add = parts[p].norm >= 0 ? c->norm_offset : 0;
    out->rank = 1;
    out->dim[1] = 1;
    switch (parts[p].shape) {
    case WIDTH:
        out->dim[0] = c->D;
        break;
    case QUERY:
    case KEY:
        out->dim[0] = c->K;
        if (c->qk_norm == GF_QK_WHOLE)
            out->dim[0] *= parts[p].shape == QUERY ? c->H : c->G;
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
    out->gguf_add = o == 1 ? c->norm_offset : 0;
    out->dim[0] = o == 1 ? c->D : c->V;
    out->dim[1] = o == 1 ? 1 : c->D;
}

bool gf_names_to_gguf(char out[64], const gf_config *c, const char *name)
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
        if (strcmp(end + 1, parts[p].hf) == 0 && needed(c, parts[p].need)) {
            snprintf(out, 64, "blk.%lld.%s", layer, parts[p].gguf); /* 64: the array's size */
            return true;
        }
    }
    return false;
}

const char *gf_norm_name(char buf[80], const gf_config *c, int64_t layer, gf_norm_id id)
{
    for (int64_t p = 0; p < PARTS; p++)
        if (parts[p].norm == (int)id && needed(c, parts[p].need)) {
            snprintf(buf, 80, "%s%lld.%s", block_prefix, (long long)layer,
                     parts[p].hf); /* its size */
            return buf;
        }
    return NULL;
}

/* ---- linear layers ----------------------------------------------------------------- */

int gf_module_ids(const gf_config *c, const gf_linear_id **ids)
{
    static const gf_linear_id apart[] = {GF_Q, GF_K, GF_V, GF_O, GF_GATE, GF_UP, GF_DOWN},
                              fused[] = {GF_QKV, GF_O, GF_GATE_UP, GF_DOWN};
    *ids = c->fused ? fused : apart;
    return c->fused ? 4 : 7; /* their numbers */
}

uint32_t gf_module_number(int64_t layer, gf_linear_id id)
{
    if (layer < 0) /* the last ones of those that dropout's key has bits for */
        return 0xFFFFFFu - (uint32_t)(id - GF_LINEARS);
    const int place = id == GF_QKV ? GF_Q : id == GF_GATE_UP ? GF_GATE : (int)id;
    return (uint32_t)(layer * (GF_DOWN + 1) + place);
}

const char *gf_module_name(char buf[64], int64_t layer, gf_linear_id id)
{
    static const char *const names[GF_LINEARS] = {
        "self_attn.q_proj", "self_attn.k_proj",   "self_attn.v_proj",
        "self_attn.o_proj", "mlp.gate_proj",      "mlp.up_proj",
        "mlp.down_proj",    "self_attn.qkv_proj", "mlp.gate_up_proj"};
    if (id >= GF_LINEARS)
        return id == GF_EMBED ? "model.embed_tokens" : "lm_head";
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
    case GF_QKV:
        *n = (c->H + 2 * c->G) * c->K;
        break;
    case GF_O:
        *n = c->D;
        *k = c->H * c->K;
        break;
    case GF_GATE_UP:
        *n = 2 * c->F;
        break;
    case GF_DOWN:
        *n = c->D;
        *k = c->F;
        break;
    case GF_GATE:
    case GF_UP:
        break;
    case GF_EMBED:
        *n = c->D;
        *k = c->V;
        break;
    case GF_HEAD:
        *n = c->V;
        break;
    }
}
