/* cmd_merge.c - graft merge: base + adapters -> a model of its own, in a folder or a GGUF file. */
#include "cli/commands.h"

#include "cli/write_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The next number of a list a,b,c; false: it is none. */
static bool next_weight(const char **text, double *weight)
{
    char *end = NULL;
    *weight = strtod(*text, &end);
    if (end == *text || (*end != ',' && *end != '\0') || (*end && !end[1]) || !isfinite(*weight))
        return false;
    *text = *end ? end + 1 : end;
    return true;
}

static gf_status read_weights(gf_merge_adapter *list, int count, const char *text, gf_err *err)
{
    const char *at = text;
    for (int i = 0; text && i < count; i++)
        if (!next_weight(&at, &list[i].weight) || (!*at && i + 1 < count))
            return gf_fail(err, GF_EARG,
                           "--adapter-weights %s: want %d number%s a,b,c, one for each --adapter",
                           text, count, count == 1 ? "" : "s");
    if (text && *at)
        return gf_fail(err, GF_EARG, "--adapter-weights %s: more numbers than --adapter (%d)", text,
                       count);
    return GF_OK;
}

/* The model that --verify compares with holds one adapter, as it is. */
static gf_status check_verify(const gf_merge_adapter *list, int count, gf_err *err)
{
    if (count == 1 && list[0].weight == 1)
        return GF_OK;
    return gf_fail(err, GF_EARG,
                   "--verify compares with the base and one --adapter of weight 1: leave it out");
}

gf_status gf_cmd_merge(const gf_options *o, gf_err *err)
{
    const int count = o->adapter_.count;
    gf_merge_adapter *list = gf_alloc((size_t)count, sizeof *list, err);
    if (!list)
        return GF_ENOMEM;
    for (int i = 0; i < count; i++)
        list[i] = (gf_merge_adapter){.dir = o->adapter_.item[i], .weight = 1};
    gf_status st = read_weights(list, count, o->adapter_weights, err);
    if (st == GF_OK && o->verify)
        st = check_verify(list, count, err);
    if (st == GF_OK)
        st = gf_write_model(o, list, count, err);
    free(list);
    return st;
}
