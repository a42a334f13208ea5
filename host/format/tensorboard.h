/* tensorboard.h - TensorBoard event files, written: TFRecord framing with masked CRC-32C around
 * protobuf Events (FORMATS 9). Each call is one record, flushed at once, so that a reader that
 * follows the file sees it. Errors are GF_EIO with the path. */
#ifndef GRAFT_HOST_FORMAT_TENSORBOARD_H
#define GRAFT_HOST_FORMAT_TENSORBOARD_H

#include "graft/base.h"

typedef struct gf_events gf_events;

/* A new file DIR/events.out.tfevents.… behind all that are there (TensorBoard reads them in the
 * order of their names). `step`: the last one that counts of the files before it, 0 for none; a
 * reader drops what they have of later steps. */
gf_status gf_events_open(gf_events **e, const char *dir, int64_t step, gf_err *err);
/* Closes; a failure to write what was buffered is reported. NULL is fine. */
gf_status gf_events_close(gf_events *e, gf_err *err);

gf_status gf_events_scalar(gf_events *e, const char *tag, int64_t step, double value, gf_err *err);
/* `markdown`: what TensorBoard's text page renders. */
gf_status gf_events_text(gf_events *e, const char *tag, int64_t step, const char *markdown,
                         gf_err *err);

/* The hparams plugin's session: options by name and the tags that tell how well they did. */
typedef enum { GF_HPARAM_TEXT, GF_HPARAM_BOOL, GF_HPARAM_NUMBER } gf_hparam_kind;
typedef struct {
    const char *name;
    gf_hparam_kind kind;
    const char *text; /* GF_HPARAM_TEXT */
    double number;    /* the others; a bool is 0 or 1 */
} gf_hparam;
gf_status gf_events_hparams(gf_events *e, const gf_hparam *param, int params,
                            const char *const *metric, int metrics, gf_err *err);
/* The session's end: whether it came to its end or failed. */
gf_status gf_events_hparams_end(gf_events *e, bool success, gf_err *err);

/* CRC-32C (Castagnoli) of n bytes, and as TFRecord masks it. */
uint32_t gf_crc32c(const void *data, size_t n);
uint32_t gf_crc32c_masked(const void *data, size_t n);

#endif
