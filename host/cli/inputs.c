/* inputs.c - see inputs.h. */
#include "cli/inputs.h"

#include "model/deploy.h"
#include "train/split.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the adapter ------------------------------------------------------------------- */

/* Splits "a,b,c"; empty items are refused. */
static gf_status split_list(char ***item, int *count, const char *text, const char *option,
                            gf_err *err)
{
    for (const char *at = text;; at++) {
        const size_t n = strcspn(at, ",");
        if (n == 0)
            return gf_fail(err, GF_EARG, "--%s %s: an empty name in the list", option, text);
        char **more = gf_realloc(*item, (size_t)*count + 1, sizeof **item, err);
        if (!more)
            return GF_ENOMEM;
        *item = more;
        if (!(more[*count] = gf_strndup(at, n, err)))
            return GF_ENOMEM;
        ++*count;
        at += n;
        if (!*at)
            return GF_OK;
    }
}

/* DESIGN 1.1: a value of only these characters is a list, anything else a regular expression. */
static bool is_list(const char *text)
{
    return text[strspn(text,
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,-")] == 0;
}

static gf_status read_targets(gf_peft_config *c, const gf_options *o, gf_err *err)
{
    if (!strcmp(o->target_modules, "all-linear") || !is_list(o->target_modules)) {
        if (!(c->target_regex = gf_strdup(o->target_modules, err)))
            return GF_ENOMEM;
    } else {
        TRY(split_list(&c->target, &c->targets, o->target_modules, "target-modules", err));
    }
    if (o->modules_to_save)
        TRY(split_list(&c->save, &c->saves, o->modules_to_save, "modules-to-save", err));
    if (!o->exclude_modules)
        return GF_OK;
    if (is_list(o->exclude_modules))
        return split_list(&c->exclude, &c->excludes, o->exclude_modules, "exclude-modules", err);
    c->exclude_regex = gf_strdup(o->exclude_modules, err);
    return c->exclude_regex ? GF_OK : GF_ENOMEM;
}

static gf_status read_layers(gf_peft_config *c, const char *text, gf_err *err)
{
    char **item = NULL;
    int count = 0;
    gf_status st = GF_OK;
    TRYG(split_list(&item, &count, text, "layers-to-transform", err));
    c->layer = gf_alloc((size_t)count, sizeof *c->layer, err);
    if (!c->layer) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < count; i++) {
        char *end;
        c->layer[c->layers++] = strtoll(item[i], &end, 10);
        if (*end || strlen(item[i]) > 9) {
            st = gf_fail(err, GF_EARG, "--layers-to-transform %s: %s is not a layer's number", text,
                         item[i]);
            goto out;
        }
    }
out:
    for (int i = 0; i < count; i++)
        free(item[i]);
    free(item);
    return st;
}

/* {"pattern": number, ...}; `most` as in --lora-r and --lora-alpha. */
static gf_status read_pattern(gf_pattern **out, int *count, const char *text, const char *option,
                              bool whole, double most, gf_err *err)
{
    cJSON *root = NULL;
    gf_status st = GF_OK;
    if (!text)
        return GF_OK;
    TRYG(gf_json_parse(&root, text, strlen(text), option, 1, err));
    if (!cJSON_IsObject(root)) {
        st = gf_fail(err, GF_EARG, "%s: want a JSON object, pattern to number", option);
        goto out;
    }
    *out = gf_alloc((size_t)cJSON_GetArraySize(root), sizeof **out, err);
    if (!*out) {
        st = GF_ENOMEM;
        goto out;
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, root)
    {
        const double x = item->valuedouble;
        if (!cJSON_IsNumber(item) || !(x > 0 && x <= most) || (whole && x != floor(x))) {
            st = gf_fail(err, GF_EARG, "%s: %.80s wants a positive %s, at most %g", option,
                         item->string, whole ? "whole number" : "number", most);
            goto out;
        }
        gf_pattern *p = &(*out)[*count];
        if (!(p->pattern = gf_strdup(item->string, err))) {
            st = GF_ENOMEM;
            goto out;
        }
        p->value = x;
        ++*count;
    }
out:
    cJSON_Delete(root);
    return st;
}

/* What would reach the half of such an adapter that stands for its start, too. */
static gf_status check_split(const gf_options *o, gf_err *err)
{
    const char *what = o->weight_decay > 0   ? "--weight-decay"
                       : o->lora_dropout > 0 ? "--lora-dropout"
                                             : NULL;
    if (!what)
        return GF_OK;
    return gf_fail(err, GF_EARG,
                   "%s with --init-lora-weights pissa or olora would change the start that is "
                   "subtracted, too: leave it at 0",
                   what);
}

/* The trained half and the start that is subtracted, at the same scale alpha / r or
 * alpha / sqrt(r): what PEFT's conversion to an adapter of the untouched base does. */
static void double_rank(gf_peft_config *c)
{
    const double alpha = c->use_rslora ? sqrt(2) : 2;
    c->r *= 2;
    c->lora_alpha *= alpha;
    for (int i = 0; i < c->rank_patterns; i++)
        c->rank_pattern[i].value *= 2;
    for (int i = 0; i < c->alpha_patterns; i++)
        c->alpha_pattern[i].value *= alpha;
}

static gf_status from_options(gf_session *s, gf_err *err)
{
    const gf_options *o = s->o;
    gf_peft_config c = {.r = o->lora_r,
                        .lora_alpha = o->lora_alpha,
                        .lora_dropout = o->lora_dropout,
                        .use_rslora = o->use_rslora,
                        .use_dora = o->use_dora};
    gf_status st = GF_OK;
    TRYG(read_targets(&c, o, err));
    if (o->layers_to_transform && !is_list(o->target_modules)) {
        st = gf_fail(err, GF_EARG,
                     "--layers-to-transform goes only with a list of --target-modules, as in PEFT; "
                     "name the layers in the regular expression");
        goto out;
    }
    if (o->layers_to_transform)
        TRYG(read_layers(&c, o->layers_to_transform, err));
    TRYG(read_pattern(&c.rank_pattern, &c.rank_patterns, o->rank_pattern, "--rank-pattern", true,
                      4096, err));
    TRYG(read_pattern(&c.alpha_pattern, &c.alpha_patterns, o->alpha_pattern, "--alpha-pattern",
                      false, 1e6, err));
    if (!(c.base_model = gf_strdup(o->model, err))) {
        st = GF_ENOMEM;
        goto out;
    }
    const bool split =
        o->init_lora_weights == GF_INIT_PISSA || o->init_lora_weights == GF_INIT_OLORA;
    if (split) {
        TRYG(check_split(o, err));
        double_rank(&c);
    }
    TRYG(gf_adapter_resolve(&s->adapter, &c, &s->files.config, err));
    s->has_adapter = true;
    s->adapter.split = split;
out:
    gf_peft_config_free(&c);
    return st;
}

static gf_status contradicts(const char *option, const char *dir, gf_err *err)
{
    return gf_fail(err, GF_EARG, "--%s contradicts %s/adapter_config.json; leave it out", option,
                   dir);
}

/* --target-modules a,b given beside --init-adapter: the same set of names? */
static bool same_targets(const gf_peft_config *c, int linears, const char *text)
{
    if (c->target_regex)
        return !strcmp(c->target_regex, text);
    if (!strcmp(text, "all-linear"))
        return c->targets == linears;
    int named = 0;
    for (const char *at = text; *at; at += *at == ',') {
        const size_t n = strcspn(at, ",");
        bool found = false;
        for (int i = 0; i < c->targets && !found; i++)
            found = strlen(c->target[i]) == n && !strncmp(c->target[i], at, n);
        if (!found)
            return false;
        named++;
        at += n;
    }
    return named == c->targets;
}

static gf_status from_adapter(gf_session *s, gf_err *err)
{
    const gf_options *o = s->o;
    const char *dir = o->init_adapter;
    TRY(gf_adapter_open(&s->adapter, dir, &s->files.config, err));
    s->has_adapter = true;
    gf_peft_config *c = &s->adapter.config;
    const gf_linear_id *ids;
    const int linears = gf_module_ids(&s->files.config, &ids);
    if (o->given.lora_r && o->lora_r != c->r)
        return contradicts("lora-r", dir, err);
    if (o->given.lora_alpha && o->lora_alpha != c->lora_alpha)
        return contradicts("lora-alpha", dir, err);
    if (o->given.use_rslora && o->use_rslora != c->use_rslora)
        return contradicts("use-rslora", dir, err);
    if (o->given.use_dora && o->use_dora != c->use_dora)
        return contradicts("use-dora", dir, err);
    if (o->given.target_modules && !same_targets(c, linears, o->target_modules))
        return contradicts("target-modules", dir, err);
    const struct {
        bool given;
        const char *name;
    } fixed[] = {{o->given.exclude_modules, "exclude-modules"},
                 {o->given.modules_to_save, "modules-to-save"},
                 {o->given.layers_to_transform, "layers-to-transform"},
                 {o->given.rank_pattern, "rank-pattern"},
                 {o->given.alpha_pattern, "alpha-pattern"},
                 {o->given.init_lora_weights, "init-lora-weights"}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (fixed[i].given)
            return contradicts(fixed[i].name, dir, err);
    if (o->given.lora_dropout)
        c->lora_dropout = o->lora_dropout;
    free(c->base_model);
    c->base_model = gf_strdup(o->model, err);
    return c->base_model ? GF_OK : GF_ENOMEM;
}

static gf_status check_deploy(const gf_session *s, gf_err *err)
{
    unsigned targets;
    if (!s->o->deploy)
        return GF_OK;
    TRY(gf_deploy_parse(&targets, s->o->deploy, "--deploy", err));
    return gf_deploy_check(targets, &s->adapter, &s->files.config, false, "--deploy", err);
}

gf_status gf_inputs_adapter(gf_session *s, gf_err *err)
{
    TRY(gf_session_files(s, err));
    TRY(s->o->init_adapter ? from_adapter(s, err) : from_options(s, err));
    const gf_peft_config *c = &s->adapter.config;
    if (c->use_dora && c->lora_dropout > 0) /* then W would be applied to the dropped x, too */
        return gf_fail(err, GF_EARG,
                       "DoRA with a dropout of %g would run every base product twice, which graft "
                       "does not: set --lora-dropout 0",
                       c->lora_dropout);
    return check_deploy(s, err);
}

/* ---- data, model, training --------------------------------------------------------- */

gf_status gf_inputs_weights(double **weight, const gf_options *o, gf_err *err)
{
    double *w = NULL;
    char **item = NULL;
    int count = 0;
    gf_status st = GF_OK;
    *weight = NULL;
    if (!o->data_weights)
        return GF_OK;
    TRYG(split_list(&item, &count, o->data_weights, "data-weights", err));
    if (count != o->data.count) {
        st = gf_fail(err, GF_EARG, "--data-weights %s: want %d number%s, one for each --data file",
                     o->data_weights, o->data.count, o->data.count == 1 ? "" : "s");
        goto out;
    }
    w = gf_alloc((size_t)count, sizeof *w, err);
    if (!w) {
        st = GF_ENOMEM;
        goto out;
    }
    for (int i = 0; i < count; i++) {
        char *end;
        w[i] = strtod(item[i], &end);
        if (*end || !(w[i] > 0 && w[i] <= 1000)) { /* more can only be a slip */
            st =
                gf_fail(err, GF_EARG, "--data-weights %s: %s is not a number above 0, at most 1000",
                        o->data_weights, item[i]);
            goto out;
        }
    }
    *weight = w;
    w = NULL;
out:
    for (int i = 0; i < count; i++)
        free(item[i]);
    free(item);
    free(w);
    return st;
}

gf_status gf_inputs_data(gf_session *s, gf_dataset *data, gf_dataset *eval, gf_err *err)
{
    const gf_options *o = s->o;
    gf_data_options opt;
    double *weight;
    gf_status st = GF_OK;
    if (o->eval_data.count && o->eval_split > 0)
        return gf_fail(err, GF_EARG, "--eval-data and --eval-split exclude each other");
    TRY(gf_inputs_weights(&weight, o, err));
    TRYG(gf_session_data_options(s, &opt, err));
    TRYG(gf_dataset_load(data, o->data.item, o->data.count, &opt, err));
    if (o->eval_data.count)
        TRYG(gf_dataset_load(eval, o->eval_data.item, o->eval_data.count, &opt, err));
    else if (o->eval_split > 0)
        TRYG(gf_split(data, eval, o->eval_split, (uint64_t)o->seed, err));
    if (weight)
        TRYG(gf_dataset_weigh(data, weight, data->source_count, err));
    if (data->count == 0)
        st = gf_fail(err, GF_EINPUT, "%s: no example is left to train on", o->data.item[0]);
out:
    free(weight);
    return st;
}

/* options.def's names of --optim: our own, then transformers' for the same. Paged ones differ in
 * where the state lies, not in what they compute. */
static gf_optim optim_of(const gf_options *o)
{
    static const gf_optim of[] = {GF_OPTIM_ADAMW, GF_OPTIM_ADAMW8, GF_OPTIM_LION,   GF_OPTIM_ADAMW,
                                  GF_OPTIM_ADAMW, GF_OPTIM_ADAMW,  GF_OPTIM_ADAMW8, GF_OPTIM_ADAMW8,
                                  GF_OPTIM_LION,  GF_OPTIM_LION};
    return of[o->optim];
}

gf_model_options gf_inputs_model(const gf_session *s)
{
    return (gf_model_options){
        .use = GF_USE_TRAIN,
        .optim = optim_of(s->o),
        .noise_alpha = (float)s->o->neftune_noise_alpha,
        .precision = gf_session_precision(s),
        .dropout = {.p = (float)s->adapter.config.lora_dropout, .seed = (uint64_t)s->o->seed}};
}

/* transformers' rule: from 1 on a number of steps, below a share of them all. */
static int64_t warmup_of(const gf_options *o, int64_t total)
{
    if (o->warmup_steps >= 1)
        return (int64_t)o->warmup_steps;
    const double share = o->warmup_steps > 0 ? o->warmup_steps : o->warmup_ratio;
    return (int64_t)ceil((double)total * share);
}

/* Options that would do nothing beside the others: whoever gives one takes it to do something. */
static gf_status check_idle(const gf_options *o, const gf_train_options *t, gf_err *err)
{
    if (o->given.early_stopping_threshold && !t->patience)
        return gf_fail(err, GF_EARG,
                       "--early-stopping-threshold goes with --early-stopping-patience");
    if (o->given.sample_tokens && !o->sample_prompts)
        return gf_fail(err, GF_EARG, "--sample-tokens goes with --sample-prompts");
    if (o->given.adam_epsilon && optim_of(o) == GF_OPTIM_LION)
        return gf_fail(err, GF_EARG, "--adam-epsilon is AdamW's: --optim lion divides by nothing");
    if (t->schedule.warmup > 0 && t->schedule.type == GF_LR_CONSTANT)
        return gf_fail(err, GF_EARG,
                       "--lr-scheduler-type constant has no warm-up: take constant_with_warmup");
    if (t->schedule.warmup > 0 && gf_lr_adapts(&t->schedule))
        return gf_fail(err, GF_EARG,
                       "this --lr-scheduler-type has no warm-up: leave out "
                       "--warmup-steps and --warmup-ratio");
    return GF_OK;
}

gf_status gf_inputs_training(gf_train_options *out, const gf_options *o, int64_t examples,
                             gf_err *err)
{
    const int64_t total = gf_train_total(examples, o->batch_size, o->num_train_epochs,
                                         o->given.max_steps ? o->max_steps : 0);
    *out = (gf_train_options){
        .schedule = {.type = (gf_lr_type)o->lr_scheduler_type,
                     .peak = o->learning_rate,
                     .total = total,
                     .warmup = warmup_of(o, total)},
        .optimizer = {.beta1 = o->adam_beta1,
                      .beta2 = o->adam_beta2,
                      .eps = o->adam_epsilon,
                      .weight_decay = o->weight_decay},
        .max_grad_norm = o->max_grad_norm,
        .batch = o->batch_size,
        .seed = (uint64_t)o->seed,
        .shuffle = !o->no_shuffle,
        .eval_steps = o->given.eval_steps ? o->eval_steps : 0,
        .save_steps = o->given.save_steps ? o->save_steps : 0,
        .save_total_limit = o->save_total_limit,
        .patience = o->given.early_stopping_patience ? o->early_stopping_patience : 0,
        .patience_threshold = o->early_stopping_threshold,
        .load_best = o->load_best_model_at_end,
        .output_dir = o->output_dir,
    };
    for (int kind = 0; kind < GF_PARAM_KINDS; kind++)
        out->optimizer.rate[kind] = 1;
    const gf_param_kind of_b[] = {GF_PARAM_B, GF_PARAM_MAGNITUDE, GF_PARAM_EMBED_B};
    for (int i = 0; o->given.loraplus_lr_ratio && i < 3; i++)
        out->optimizer.rate[of_b[i]] = o->loraplus_lr_ratio;
    TRY(gf_schedule_open(&out->schedule, o->lr_scheduler_kwargs, err));
    const char *what = gf_lr_adapts(&out->schedule) ? "this --lr-scheduler-type"
                       : out->patience              ? "--early-stopping-patience"
                       : out->load_best             ? "--load-best-model-at-end"
                       : out->eval_steps            ? "--eval-steps"
                                                    : NULL;
    if (what && !o->eval_data.count && o->eval_split <= 0)
        return gf_fail(err, GF_EARG,
                       "%s follows the evaluations: it needs --eval-data or --eval-split", what);
    return check_idle(o, out, err);
}

void gf_inputs_say_overlength(const char *name, const gf_dataset *data)
{
    if (data->dropped || data->truncated)
        fprintf(stderr, "graft: %s: over --max-length: %lld dropped, %lld truncated\n", name,
                (long long)data->dropped, (long long)data->truncated);
}

int64_t gf_inputs_longest(const gf_dataset *data, const gf_dataset *eval, const gf_prompts *p)
{
    const int64_t a = gf_dataset_longest(data), b = gf_dataset_longest(eval);
    const int64_t c = p ? gf_prompts_longest(p) : 0, most = a > b ? a : b;
    return most > c ? most : c;
}
