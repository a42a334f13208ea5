/* test_deploy.c - which program takes which adapter, and that the message names the way out. */
#include "model/deploy.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define PEFT (1u << GF_DEPLOY_PEFT)
#define LLAMA_CPP (1u << GF_DEPLOY_LLAMA_CPP)
#define OLLAMA (1u << GF_DEPLOY_OLLAMA)
#define VLLM (1u << GF_DEPLOY_VLLM)

/* An adapter of two modules, plain as it stands. */
typedef struct {
    gf_lora lora[2];
    gf_param param[2];
    gf_adapter ad;
    gf_config model;
} plain;

static void make(plain *p)
{
    *p = (plain){0};
    for (int i = 0; i < 2; i++) {
        p->lora[i] = (gf_lora){.layer = i, .id = GF_Q, .r = 8, .scale = 2};
        p->param[i].kind = GF_PARAM_A;
        strcpy(p->param[i].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    }
    p->ad = (gf_adapter){.lora = p->lora, .count = 2, .param = p->param, .params = 2};
    p->ad.config.r = 8;
    p->ad.config.lora_alpha = 16;
    strcpy(p->model.family, "qwen2");
}

static void expect(const plain *p, unsigned refused, const char *option)
{
    for (unsigned t = 0; t < GF_DEPLOYS; t++) {
        gf_err err = {0};
        const gf_status want = refused & 1u << t ? GF_EARG : GF_OK;
        cr_expect_eq(gf_deploy_check(1u << t, &p->ad, &p->model, false, "--deploy", &err), want,
                     "target %u: %s", t, err.text);
        if (want == GF_OK)
            continue;
        cr_expect(strstr(err.text, option) && strstr(err.text, "graft merge"), "%s", err.text);
        err = (gf_err){0};
        cr_expect_eq(gf_deploy_check(1u << t, &p->ad, &p->model, true, "FILE", &err), GF_EARG);
        cr_expect(!strncmp(err.text, "FILE: ", 6) && strstr(err.text, "graft merge"), "%s",
                  err.text);
    }
}

Test(deploy, what_each_target_takes)
{
    plain p;
    make(&p);
    expect(&p, 0, "");
    p.ad.config.use_dora = true;
    expect(&p, LLAMA_CPP | OLLAMA | VLLM, "--use-dora");
    make(&p);
    p.ad.start[GF_PARAM_FULL + 1] = 10;
    expect(&p, LLAMA_CPP | OLLAMA | VLLM, "--modules-to-save");
    make(&p);
    p.lora[1].r = 513;
    p.lora[1].scale = 2;
    expect(&p, VLLM, "--lora-r");
    make(&p);
    p.lora[1].scale = 1;
    expect(&p, VLLM, "--alpha-pattern");
    make(&p); /* rsLoRA with one rank is one scale */
    p.ad.config.use_rslora = true;
    p.ad.config.r = p.lora[0].r = p.lora[1].r = 16;
    p.ad.config.lora_alpha = 8;
    expect(&p, 0, "");
}

Test(deploy, embeddings)
{
    plain p;
    make(&p);
    p.param[1].kind = GF_PARAM_EMBED_A;
    strcpy(p.param[1].name, "base_model.model.model.embed_tokens.lora_embedding_A");
    expect(&p, VLLM, "embed_tokens");
    strcpy(p.model.family, "llama");
    expect(&p, 0, "");
    p.model.tied = true;
    expect(&p, LLAMA_CPP | OLLAMA, "embed_tokens");
    strcpy(p.param[1].name, "base_model.model.lm_head.lora_A.weight");
    p.param[1].kind = GF_PARAM_A;
    expect(&p, LLAMA_CPP | OLLAMA, "lm_head");
}

Test(deploy, lists)
{
    unsigned targets = 0;
    gf_err err = {0};
    cr_expect_eq(gf_deploy_parse(&targets, "llama.cpp,vllm", "--deploy", &err), GF_OK);
    cr_expect_eq(targets, LLAMA_CPP | VLLM);
    cr_expect_eq(gf_deploy_parse(&targets, "peft", "--deploy", &err), GF_OK);
    cr_expect_eq(targets, PEFT);
    static const char *const bad[] = {"", "vllm,", ",vllm", "tgi", "vllm,vllm", "llama", "VLLM"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (gf_err){0};
        cr_expect_eq(gf_deploy_parse(&targets, bad[i], "--deploy", &err), GF_EARG, "%s", bad[i]);
        cr_expect(strstr(err.text, "--deploy"), "%s", err.text);
    }
}
