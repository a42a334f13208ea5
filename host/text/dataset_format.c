/* Which format a record has; records of token ids. */
#include "text/dataset_parts.h"

#include <math.h>
#include <string.h>

static const cJSON *member(const cJSON *j, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

const char *gf_data_format_name(gf_data_format f)
{
    static const char *const names[] = {"auto",   "messages", "guanaco", "text",
                                        "tokens", "sharegpt", "alpaca",  "prompt-completion"};
    return names[f];
}

gf_status gf_data_detect(const cJSON *record, const char *place, gf_data_format *out, gf_err *err)
{
    *out = GF_DATA_MESSAGES;
    if (cJSON_IsArray(record) || member(record, "messages") != NULL)
        return GF_OK;
    if (!cJSON_IsObject(record))
        return gf_fail(err, GF_EINPUT, "%s: want an object", place);
    static const struct {
        const char *keys[2];
        gf_data_format format;
    } known[] = {
        {{"input_ids"}, GF_DATA_TOKENS},
        {{"conversations"}, GF_DATA_SHAREGPT},
        {{"instruction", "output"}, GF_DATA_ALPACA}, /* some have a "text" besides */
        {{"prompt", "completion"}, GF_DATA_PAIRS},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const char *const *k = known[i].keys;
        if (member(record, k[0]) != NULL && (k[1] == NULL || member(record, k[1]) != NULL)) {
            *out = known[i].format;
            return GF_OK;
        }
    }
    const cJSON *text = member(record, "text");
    if (text != NULL) {
        *out = cJSON_IsString(text) && gf_guanaco_begins(text->valuestring) ? GF_DATA_GUANACO
                                                                            : GF_DATA_TEXT;
        return GF_OK;
    }
    return gf_fail(err, GF_EINPUT,
                   "%s: no known format: want the key messages, conversations, text or input_ids, "
                   "or instruction and output, or prompt and completion",
                   place);
}

/* An array of integers in [0, end), or `also`, into out. */
static gf_status read_ids(const gf_record *r, const cJSON *array, const char *key, int64_t end,
                          double also, int32_t *out)
{
    int64_t i = 0;
    const cJSON *e;
    cJSON_ArrayForEach(e, array)
    {
        if (!cJSON_IsNumber(e) || e->valuedouble != floor(e->valuedouble))
            return gf_record_fail(r, "%s[%lld] is not an integer", key, (long long)i);
        const double v = e->valuedouble;
        if (v != also && !(v >= 0 && v < (double)end))
            return gf_record_fail(r, "%s[%lld] is %.17g, outside the vocabulary of %lld tokens",
                                  key, (long long)i, v, (long long)end);
        out[i++] = (int32_t)v;
    }
    return GF_OK;
}

/* Rows padded by other tools would train on their padding. */
static gf_status check_masks(const gf_record *r)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, member(r->json, "attention_mask"))
    {
        if (!cJSON_IsNumber(e) || e->valuedouble != 1)
            return gf_record_fail(r, "attention_mask has elements other than 1: leave the padding "
                                     "out of input_ids");
    }
    if (member(r->json, "labels") == NULL &&
        (member(r->json, "completion_mask") != NULL || member(r->json, "assistant_masks") != NULL))
        return gf_fail(r->err, GF_EMISSING,
                       "%s: masks of token records come in a later version: give \"labels\"",
                       r->place);
    return GF_OK;
}

gf_status gf_token_example(const gf_record *r)
{
    const cJSON *ids = member(r->json, "input_ids"), *labels = member(r->json, "labels");
    const gf_train_on on = r->opt->train_on;
    if (on != GF_TRAIN_DEFAULT && on != GF_TRAIN_ALL)
        return gf_fail(r->err, GF_EARG,
                       "%s: token records bring their own labels: leave --train-on out", r->place);
    if (!cJSON_IsArray(ids))
        return gf_record_fail(r, "\"input_ids\" must be an array of integers");
    if (labels != NULL && !cJSON_IsNull(labels) && !cJSON_IsArray(labels))
        return gf_record_fail(r, "\"labels\" must be an array of integers");
    if (cJSON_IsNull(labels))
        labels = NULL;
    const int64_t n = cJSON_GetArraySize(ids);
    if (labels != NULL && cJSON_GetArraySize(labels) != n)
        return gf_record_fail(r, "%lld input_ids but %d labels", (long long)n,
                              cJSON_GetArraySize(labels));
    TRY(check_masks(r));
    const int64_t end = r->opt->vocab > 0 ? r->opt->vocab : INT32_MAX;
    TRY(gf_record_tokens(r, &(gf_tokens){.count = n}));
    TRY(read_ids(r, ids, "input_ids", end, 0, r->e->ids));
    if (labels != NULL && on == GF_TRAIN_DEFAULT)
        TRY(read_ids(r, labels, "labels", end, -100, r->e->labels));
    else if (n > 0)
        memcpy(r->e->labels, r->e->ids, (size_t)n * sizeof *r->e->ids);
    return GF_OK;
}
