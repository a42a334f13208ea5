#include "model/deploy.h"

#include <stdlib.h>
#include <string.h>

static const char *const target_names[GF_DEPLOYS] = {"peft", "llama.cpp", "ollama", "vllm"};

#define GGUF (1u << GF_DEPLOY_LLAMA_CPP | 1u << GF_DEPLOY_OLLAMA) /* Ollama runs llama.cpp */
#define VLLM (1u << GF_DEPLOY_VLLM)

/* vLLM's largest --max-lora-rank: 8, 16, 32, 64, 128, 256, 320, 512 (0.11: vllm/config/lora.py). */
#define VLLM_RANK_MAX 512

/* ---- what an adapter may have ----------------------------------------------------------- */

static bool has_dora(const gf_adapter *ad, const gf_config *model)
{
    (void)model;
    return ad->config.use_dora;
}

static bool has_whole_tensors(const gf_adapter *ad, const gf_config *model)
{
    (void)model;
    return ad->start[GF_PARAM_FULL + 1] > ad->start[GF_PARAM_FULL];
}

static bool has_param_of(const gf_adapter *ad, const char *module)
{
    for (int i = 0; i < ad->params; i++)
        if (ad->param[i].kind != GF_PARAM_FULL && strstr(ad->param[i].name, module))
            return true;
    return false;
}

static bool has_tied_embedding(const gf_adapter *ad, const gf_config *model)
{
    return model->tied && (has_param_of(ad, ".embed_tokens.") || has_param_of(ad, ".lm_head."));
}

static bool has_embedding_or_head(const gf_adapter *ad, const gf_config *model)
{
    if (!strcmp(model->family, "llama") || !strcmp(model->family, "mistral"))
        return false; /* which name both in their embedding_modules */
    return has_param_of(ad, ".embed_tokens.") || has_param_of(ad, ".lm_head.");
}

static bool has_large_rank(const gf_adapter *ad, const gf_config *model)
{
    (void)model;
    for (int i = 0; i < ad->count; i++)
        if (ad->lora[i].r > VLLM_RANK_MAX)
            return true;
    return false;
}

/* Of a module that no pattern names. */
static bool has_two_scales(const gf_adapter *ad, const gf_config *model)
{
    int64_t r;
    double scale;
    gf_peft_config plain = ad->config; /* shallow */
    (void)model;
    plain.rank_patterns = plain.alpha_patterns = 0;
    if (gf_peft_rank(&r, &scale, &plain, "", NULL) != GF_OK)
        return true;
    for (int i = 0; i < ad->count; i++)
        if ((float)ad->lora[i].scale != (float)scale)
            return true;
    return false;
}

/* ---- who does not take what ------------------------------------------------------------- */

static const struct {
    unsigned targets;
    bool (*has)(const gf_adapter *ad, const gf_config *model);
    const char *why, *option;
} rules[] = {
    /* llama.cpp src/llama-adapter.cpp: lora_a and lora_b are all that a file may hold. */
    {GGUF, has_dora, "has no DoRA adapters", "leave out --use-dora"},
    /* vllm/lora/peft_helper.py: "vLLM does not yet support DoRA." */
    {VLLM, has_dora, "has no DoRA adapters", "leave out --use-dora"},
    /* The same files: pairs of matrices only; "vLLM only supports modules_to_save being None." */
    {GGUF | VLLM, has_whole_tensors, "takes no whole tensors in an adapter",
     "leave out --modules-to-save"},
    /* A tied output is the tensor token_embd once more, so its adapter is looked up by that name
     * and has the wrong shape there: llama_decode aborts. */
    {GGUF, has_tied_embedding, "has no adapters of an embedding that is the output, too",
     "leave embed_tokens and lm_head out of --target-modules"},
    /* vllm/model_executor/models: embedding_modules of the model's class. */
    {VLLM, has_embedding_or_head, "has no adapters of this family's embedding and output head",
     "leave embed_tokens and lm_head out of --target-modules"},
    {VLLM, has_large_rank, "takes ranks up to 512", "lower --lora-r or --rank-pattern"},
    /* peft_helper.py reads r, lora_alpha and use_rslora, and knows no patterns. */
    {VLLM, has_two_scales, "gives every module the same scale",
     "leave out --alpha-pattern and --rank-pattern"},
};

gf_status gf_deploy_check(unsigned targets, const gf_adapter *ad, const gf_config *model,
                          bool trained, const char *where, gf_err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const unsigned hit = rules[i].targets & targets;
        if (!hit || !rules[i].has(ad, model))
            continue;
        const char *name = target_names[__builtin_ctz(hit)];
        if (trained)
            return gf_fail(err, GF_EARG,
                           "%s: %s %s; make one model of base and adapter with graft merge", where,
                           name, rules[i].why);
        return gf_fail(err, GF_EARG,
                       "%s %s: it %s: %s, or deploy a merged model (graft merge) and leave %s out "
                       "of --deploy",
                       where, name, rules[i].why, rules[i].option, name);
    }
    return GF_OK;
}

gf_status gf_deploy_parse(unsigned *targets, const char *list, const char *option, gf_err *err)
{
    *targets = 0;
    for (const char *at = list;; at++) {
        const size_t n = strcspn(at, ",");
        int t = 0;
        while (t < GF_DEPLOYS && (strlen(target_names[t]) != n || memcmp(target_names[t], at, n)))
            t++;
        if (t == GF_DEPLOYS)
            return gf_fail(err, GF_EARG,
                           "%s %s: want peft, llama.cpp, ollama, vllm or several as a list", option,
                           list);
        if (*targets & 1u << t)
            return gf_fail(err, GF_EARG, "%s %s: %s stands there twice", option, list,
                           target_names[t]);
        *targets |= 1u << t;
        at += n;
        if (!*at)
            return GF_OK;
    }
}
