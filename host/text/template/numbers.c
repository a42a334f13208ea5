/* JSON numbers as their file spells them. */
#include "text/template.h"

#include <math.h>
#include <string.h>

/* The next number in the text outside strings. */
static const char *next_number(const char *p, const char *end, size_t *n)
{
    for (; p < end; p++) {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++)
                p += *p == '\\';
            continue;
        }
        if (*p != '-' && (*p < '0' || *p > '9'))
            continue;
        const char *q = p;
        while (q < end && ((*q >= '0' && *q <= '9') || memchr("+-.eE", *q, 5) != NULL))
            q++;
        *n = (size_t)(q - p);
        return p;
    }
    return NULL;
}

/* cJSON's tree in the order of the text. */
static gf_status walk(cJSON *j, const char **p, const char *end, gf_err *err)
{
    if (cJSON_IsNumber(j)) {
        size_t n = 0;
        const char *s = next_number(*p, end, &n);
        if (s == NULL)
            return gf_fail(err, GF_EARG, "the text is not what the JSON tree was parsed from");
        *p = s + n;
        const bool is_float =
            memchr(s, '.', n) != NULL || memchr(s, 'e', n) != NULL || memchr(s, 'E', n) != NULL;
        /* below 2^53 a double holds every integer */
        if ((is_float || fabs(j->valuedouble) >= 9007199254740992.0) && j->valuestring == NULL) {
            char *copy = cJSON_malloc(n + 1);
            if (copy == NULL)
                return gf_fail(err, GF_ENOMEM, "a number of %zu bytes cannot be kept", n);
            memcpy(copy, s, n);
            copy[n] = '\0';
            j->valuestring = copy;
        }
        return GF_OK;
    }
    cJSON *e;
    cJSON_ArrayForEach(e, j)
    {
        TRY(walk(e, p, end, err)); /* as deep as the validator lets JSON nest */
    }
    return GF_OK;
}

gf_status gf_template_numbers(cJSON *tree, const char *text, size_t size, gf_err *err)
{
    const char *p = text;
    return walk(tree, &p, text + size, err);
}
