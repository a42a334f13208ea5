/* prometheus.c - contract: prometheus.h. */
#include "format/prometheus.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

/* A backslash before backslashes and, in labels, quotes; a newline is written as \n. */
static gf_status escape(gf_buf *b, const char *text, bool label, gf_err *err)
{
    for (;;) {
        const size_t n = strcspn(text, label ? "\\\n\"" : "\\\n");
        TRY(gf_buf_add(b, text, n, err));
        text += n;
        if (!*text)
            return GF_OK;
        TRY(gf_buf_str(b, *text == '\n' ? "\\n" : *text == '"' ? "\\\"" : "\\\\", err));
        text++;
    }
}

gf_status gf_prometheus_metric(gf_buf *b, const char *name, const char *type, const char *help,
                               gf_err *err)
{
    TRY(gf_buf_printf(b, err, "# HELP %s ", name));
    TRY(escape(b, help, false, err));
    return gf_buf_printf(b, err, "\n# TYPE %s %s\n", name, type);
}

gf_status gf_prometheus_value(gf_buf *b, const char *name, const gf_label *label, int labels,
                              double value, gf_err *err)
{
    TRY(gf_buf_str(b, name, err));
    for (int i = 0; i < labels; i++) {
        TRY(gf_buf_printf(b, err, "%s%s=\"", i ? "," : "{", label[i].name));
        TRY(escape(b, label[i].value, true, err));
        TRY(gf_buf_str(b, "\"", err));
    }
    TRY(gf_buf_str(b, labels ? "} " : " ", err));
    if (isnan(value))
        TRY(gf_buf_str(b, "NaN", err));
    else if (isinf(value))
        TRY(gf_buf_str(b, value > 0 ? "+Inf" : "-Inf", err));
    else
        TRY(gf_json_number(b, value, err));
    return gf_buf_str(b, "\n", err);
}
