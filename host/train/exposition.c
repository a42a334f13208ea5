/* exposition.c - contract: exposition.h. */
#include "train/exposition.h"

#include <time.h>

#include "base/file.h"
#include "format/prometheus.h"

/* A value with its own label beside the run's: {name, value} or NULL. */
typedef struct {
    const char *name, *type, *help;
    double value;
    bool known;
    const char *
        kind; /* label kind, or NULL; a metric of several kinds stands in lines one after another */
} metric;

static gf_status put(gf_buf *out, const gf_exposition *e, const metric *m, bool first, gf_err *err)
{
    const gf_label label[] = {{"run", e->run}, {"kind", m->kind}};
    if (first)
        TRY(gf_prometheus_metric(out, m->name, m->type, m->help, err));
    return gf_prometheus_value(out, m->name, label, m->kind ? 2 : 1, m->value, err);
}

static gf_status put_info(gf_buf *out, const gf_exposition *e, gf_err *err)
{
    const gf_label label[] = {{"run", e->run}, {"version", e->version}, {"model", e->model}};
    TRY(gf_prometheus_metric(out, "graft_info", "gauge", "The run: always 1", err));
    return gf_prometheus_value(out, "graft_info", label, 3, 1, err);
}

gf_status gf_exposition_text(const gf_exposition *e, gf_buf *out, gf_err *err)
{
    const gf_device_state *d = &e->device;
    const bool s = e->stepped, v = e->evaluated, gpu = d->memory > 0;
    const metric list[] = {
        {"graft_running", "gauge", "1 while the run goes on", e->running, true, NULL},
        {"graft_step", "gauge", "Optimizer steps done", (double)e->step, true, NULL},
        {"graft_steps_planned", "gauge", "Optimizer steps of the whole run", (double)e->total, true,
         NULL},
        {"graft_updated_timestamp_seconds", "gauge", "When this file was written",
         (double)time(NULL), true, NULL},
        {"graft_epoch", "gauge", "Passes over the data", e->epoch, s, NULL},
        {"graft_loss", "gauge", "Loss of the last step before its update", e->loss, s, NULL},
        {"graft_grad_norm", "gauge", "Norm of the last step's gradient before clipping",
         e->grad_norm, s, NULL},
        {"graft_learning_rate", "gauge", "Learning rate of the last update", e->learning_rate, s,
         NULL},
        {"graft_tokens_per_second", "gauge", "Tokens of the last step over its time",
         e->tokens_per_second, s, NULL},
        {"graft_tokens_total", "counter", "Tokens since this start", (double)e->tokens, s, NULL},
        {"graft_trained_tokens_total", "counter", "Trained tokens since this start",
         (double)e->trained, s, NULL},
        {"graft_time_left_seconds", "gauge", "Time to the end at the pace so far", e->seconds_left,
         s, NULL},
        {"graft_machine_share_ratio", "gauge",
         "The last step's FLOP/s over what this machine can do", e->share, s && e->limit > 0, NULL},
        {"graft_eval_loss", "gauge", "Loss of the last evaluation", e->eval_loss, v, NULL},
        {"graft_eval_accuracy_ratio", "gauge", "Token accuracy of the last evaluation",
         e->eval_accuracy, v, NULL},
        {"graft_memory_bytes", "gauge", "Memory planned and in use", (double)e->planned, true,
         "planned"},
        {"graft_memory_bytes", "gauge", NULL, (double)e->memory, e->memory > 0, "used"},
        {"graft_gpu_utilization_ratio", "gauge", "Share of time in which the GPU was busy",
         d->busy / 100.0, gpu, NULL},
        {"graft_gpu_power_watts", "gauge", "Power that the GPU draws", d->watts, gpu, NULL},
        {"graft_gpu_temperature_celsius", "gauge", "Temperature of the GPU", d->celsius, gpu, NULL},
        {"graft_gpu_memory_bytes", "gauge", "Memory of the GPU, of all processes",
         (double)d->memory, gpu, "total"},
        {"graft_gpu_memory_bytes", "gauge", NULL, (double)d->memory_used, gpu, "used"},
    };
    TRY(put_info(out, e, err));
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].known)
            TRY(put(out, e, &list[i], list[i].help != NULL, err));
    return GF_OK;
}

gf_status gf_exposition_write(const gf_exposition *e, const char *path, gf_err *err)
{
    gf_buf text = {0};
    gf_status st = gf_exposition_text(e, &text, err);
    if (st == GF_OK)
        st = gf_file_write(path, text.data, text.len, err);
    gf_buf_free(&text);
    return st;
}
