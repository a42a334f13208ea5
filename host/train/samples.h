/* samples.h - what the model being trained answers: greedy, by the training model itself. There is
 * no second copy and no cache: all prompts stand as examples in one row, each pass adds a token to
 * each of them. Leaves nothing behind that training would notice. */
#ifndef GRAFT_HOST_TRAIN_SAMPLES_H
#define GRAFT_HOST_TRAIN_SAMPLES_H

#include "model/model.h"
#include "text/tokenizer.h"

typedef struct {
    char *text;   /* as people read it */
    char *wanted; /* the answer that the file has, or NULL */
    gf_tokens ids;
} gf_prompt;

typedef struct {
    gf_prompt *item;
    int count;
    int64_t new_tokens;  /* at most, for each */
    const int32_t *stop; /* ids that end an answer; not owned */
    int stops;
    gf_tokenizer *tokenizer; /* not owned */
} gf_prompts;

typedef struct {
    char *text;     /* without the end token */
    int64_t tokens; /* with it */
    bool ended;     /* by an end token; else the tokens were used up */
} gf_answer;

void gf_prompts_free(gf_prompts *p);

/* Tokens that a row needs for the longest prompt and its answer. */
int64_t gf_prompts_longest(const gf_prompts *p);

/* Answers all prompts: *out is an array of p->count, to be freed with gf_answers_free. The model's
 * rows hold gf_prompts_longest. GF_ENUMERIC if the model's numbers are not finite. */
gf_status gf_samples_run(gf_answer **out, gf_model *m, const gf_prompts *p, gf_err *err);
void gf_answers_free(gf_answer *a, int count);

#endif
