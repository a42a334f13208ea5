/* prometheus.h - numbers as Prometheus reads them: the text exposition format, version 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). Appends; nothing is written. */
#ifndef GRAFT_HOST_FORMAT_PROMETHEUS_H
#define GRAFT_HOST_FORMAT_PROMETHEUS_H

#include "graft/base.h"

typedef struct {
    const char *name, *value; /* value: any UTF-8 */
} gf_label;

/* The two lines that lead a metric; once each, before its values. type: "gauge" or "counter" (whose
 * name ends in _total). */
gf_status gf_prometheus_metric(gf_buf *b, const char *name, const char *type, const char *help,
                               gf_err *err);
gf_status gf_prometheus_value(gf_buf *b, const char *name, const gf_label *label, int labels,
                              double value, gf_err *err);

#endif
