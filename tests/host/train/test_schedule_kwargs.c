/* test_schedule_kwargs.c - what a schedule does not take is named; nothing is ignored. */
#include "train/schedule.h"

#include <criterion/criterion.h>
#include <string.h>

static void refuse(gf_lr_type type, const char *kwargs, gf_status want, const char *says)
{
    gf_schedule s = {.type = type, .peak = 2e-4, .total = 20, .warmup = 4};
    gf_err err = {0};
    cr_expect_eq(gf_schedule_open(&s, kwargs, &err), want, "%s", kwargs);
    cr_expect(strstr(err.text, says) && !strchr(err.text, '\n'), "%s: %s", kwargs, err.text);
}

Test(schedule_kwargs, refusals)
{
    refuse(GF_LR_COSINE, "{\"num_cycles\":}", GF_EINPUT, "--lr-scheduler-kwargs:1:");
    refuse(GF_LR_COSINE, "", GF_EINPUT, "--lr-scheduler-kwargs");
    refuse(GF_LR_COSINE, "{\"num_cycles\":1,\"num_cycles\":2}", GF_EINPUT, "num_cycles");
    refuse(GF_LR_COSINE, "[1]", GF_EARG, "want a JSON object, got an array");
    refuse(GF_LR_COSINE, "3", GF_EARG, "want a JSON object");
    refuse(GF_LR_COSINE, "{\"cycles\":2}", GF_EARG, "cycles: this --lr-scheduler-type takes num_c");
    refuse(GF_LR_LINEAR, "{\"num_cycles\":2}", GF_EARG, "takes none");
    refuse(GF_LR_CONSTANT, "{\"min_lr\":0}", GF_EARG, "takes none");
    refuse(GF_LR_COSINE, "{\"num_cycles\":\"2\"}", GF_EARG, "got a string");
    refuse(GF_LR_COSINE, "{\"num_cycles\":0}", GF_EARG, "(0,1e+06]");
    refuse(GF_LR_COSINE, "{\"num_cycles\":1e999}", GF_EARG, "num_cycles");
    refuse(GF_LR_COSINE_RESTARTS, "{\"num_cycles\":0.5}", GF_EARG, "[1,1e+06]");
    refuse(GF_LR_POLYNOMIAL, "{\"power\":-1}", GF_EARG, "power");
    refuse(GF_LR_POLYNOMIAL, "{\"lr_end\":2e-4}", GF_EARG, "not below --learning-rate");
    refuse(GF_LR_INVERSE_SQRT, "{\"timescale\":0}", GF_EARG, "timescale");
    refuse(GF_LR_INVERSE_SQRT, "{\"timescale\":2.5}", GF_EARG, "whole number");
    refuse(GF_LR_COSINE_MIN, NULL, GF_EARG, "one of min_lr and min_lr_rate");
    refuse(GF_LR_COSINE_MIN, "{\"min_lr\":1e-5,\"min_lr_rate\":0.1}", GF_EARG, "one of");
    refuse(GF_LR_COSINE_MIN, "{\"min_lr\":1e-3}", GF_EARG, "above --learning-rate");
    refuse(GF_LR_COSINE_MIN, "{\"min_lr_rate\":1.5}", GF_EARG, "min_lr_rate");
    refuse(GF_LR_COSINE_MIN, "{\"min_lr_rate\":0.1,\"warmup_lr_rate\":0.1}", GF_EARG, "takes");
    refuse(GF_LR_STABLE, NULL, GF_EARG, "wants num_decay_steps");
    refuse(GF_LR_STABLE, "{\"num_decay_steps\":17}", GF_EARG, "more than the run's 20 steps");
    refuse(GF_LR_STABLE, "{\"num_decay_steps\":7,\"decay_type\":\"log\"}", GF_EARG,
           "choose from linear, cosine, 1-sqrt");
    refuse(GF_LR_STABLE, "{\"num_decay_steps\":7,\"decay_type\":1}", GF_EARG, "choose from");
    refuse(GF_LR_PLATEAU, "{\"factor\":1}", GF_EARG, "factor");
    refuse(GF_LR_PLATEAU, "{\"mode\":\"max\"}", GF_EARG, "mode: choose from min");
    refuse(GF_LR_PLATEAU, "{\"min_lr\":[0,0]}", GF_EARG, "got an array");
    refuse(GF_LR_PLATEAU, "{\"smooth\":true}", GF_EARG, "takes");
    refuse(GF_LR_GREEDY, "{\"smooth\":1}", GF_EARG, "want true or false");
}

Test(schedule_kwargs, values)
{
    gf_schedule s = {.type = GF_LR_GREEDY, .peak = 1, .total = 5};
    cr_assert_eq(gf_schedule_open(&s,
                                  "{\"threshold_mode\":\"rel\",\"smooth\":true,\"mode\":\"min\","
                                  "\"warmup\":3,\"patience\":null}",
                                  NULL),
                 GF_OK);
    cr_assert(!s.threshold_abs && s.smooth && s.warmup_evals == 3 && s.patience == 10);
    s = (gf_schedule){.type = GF_LR_STABLE, .peak = 1, .total = 20, .warmup = 3};
    cr_assert_eq(gf_schedule_open(&s, "{\"num_decay_steps\":7,\"warmup_type\":\"1-sqrt\"}", NULL),
                 GF_OK);
    cr_assert(s.num_stable_steps == 10 && s.warmup_type == GF_SHAPE_SQRT &&
              s.decay_type == GF_SHAPE_COSINE);
}
