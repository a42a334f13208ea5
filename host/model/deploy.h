/* deploy.h - what the programs that will run an adapter can load, so that training refuses it
 * before hours are spent on it and export before a file is written that they refuse or, worse,
 * misread. */
#ifndef GRAFT_HOST_MODEL_DEPLOY_H
#define GRAFT_HOST_MODEL_DEPLOY_H

#include "model/adapter.h"

typedef enum {
    GF_DEPLOY_PEFT,
    GF_DEPLOY_LLAMA_CPP,
    GF_DEPLOY_OLLAMA,
    GF_DEPLOY_VLLM,
    GF_DEPLOYS
} gf_deploy;

/* "llama.cpp,vllm" as bits 1 << gf_deploy. An unknown or empty name, or one that stands there
 * twice: GF_EARG, `option` leads the message. */
gf_status gf_deploy_parse(unsigned *targets, const char *list, const char *option, gf_err *err);

/* GF_EARG if one of the targets does not take the adapter: which, why, and the way out. For an
 * adapter to be trained that is the option to change, and `where` is "--deploy"; for one that is
 * there (`trained`), a merged model, and `where` is its file. */
gf_status gf_deploy_check(unsigned targets, const gf_adapter *ad, const gf_config *model,
                          bool trained, const char *where, gf_err *err);

#endif
