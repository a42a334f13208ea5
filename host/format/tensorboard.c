/* tensorboard.c - contract: tensorboard.h. Field numbers are those of TensorFlow's event.proto,
 * summary.proto, tensor.proto and TensorBoard's hparams plugin_data.proto and api.proto. */
#include "format/tensorboard.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

#define PREFIX "events.out.tfevents."

struct gf_events {
    FILE *file;
    char *path;
};

/* ---- CRC-32C --------------------------------------------------------------------------- */

uint32_t gf_crc32c(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t c = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) { /* bit by bit: events are few and small */
        c ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0x82F63B78u : 0); /* Castagnoli's polynomial, reflected */
    }
    return ~c;
}

uint32_t gf_crc32c_masked(const void *data, size_t n)
{
    const uint32_t c = gf_crc32c(data, n);
    return (c >> 15 | c << 17) + 0xA282EAD8u; /* TFRecord's rotation and constant */
}

/* ---- protobuf -------------------------------------------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

static gf_status varint(gf_buf *b, uint64_t x, gf_err *err)
{
    unsigned char bytes[10]; /* 64 bits by 7 */
    size_t n = 0;
    do {
        bytes[n] = (unsigned char)(x & 0x7F);
        x >>= 7;
        bytes[n++] |= x ? 0x80 : 0;
    } while (x);
    return gf_buf_add(b, bytes, n, err);
}

static gf_status key(gf_buf *b, int field, int type, gf_err *err)
{
    return varint(b, (uint64_t)field << 3 | (uint64_t)type, err);
}

/* Little-endian, as the host may not be. */
static gf_status fixed(gf_buf *b, uint64_t x, size_t bytes, gf_err *err)
{
    unsigned char out[8];
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)(x >> 8 * i);
    return gf_buf_add(b, out, bytes, err);
}

static gf_status put_int(gf_buf *b, int field, int64_t x, gf_err *err)
{
    TRY(key(b, field, VARINT, err));
    return varint(b, (uint64_t)x, err);
}

static gf_status put_double(gf_buf *b, int field, double x, gf_err *err)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    TRY(key(b, field, FIXED64, err));
    return fixed(b, bits, 8, err);
}

static gf_status put_float(gf_buf *b, int field, double x, gf_err *err)
{
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    TRY(key(b, field, FIXED32, err));
    return fixed(b, bits, 4, err);
}

static gf_status put_bytes(gf_buf *b, int field, const void *data, size_t n, gf_err *err)
{
    TRY(key(b, field, BYTES, err));
    TRY(varint(b, n, err));
    return gf_buf_add(b, data, n, err);
}

static gf_status put_text(gf_buf *b, int field, const char *text, gf_err *err)
{
    return put_bytes(b, field, text, strlen(text), err);
}

/* Moves a finished message into a field of another. */
static gf_status put_message(gf_buf *b, int field, gf_buf *message, gf_err *err)
{
    const gf_status st = put_bytes(b, field, message->data ? message->data : "", message->len, err);
    gf_buf_free(message);
    return st;
}

/* ---- records --------------------------------------------------------------------------- */

static gf_status write_record(gf_events *e, const gf_buf *event, gf_err *err)
{
    gf_buf out = {0};
    gf_status st = fixed(&out, event->len, 8, err);
    if (st == GF_OK)
        st = fixed(&out, gf_crc32c_masked(out.data, 8), 4, err);
    if (st == GF_OK)
        st = gf_buf_add(&out, event->data, event->len, err);
    if (st == GF_OK)
        st = fixed(&out, gf_crc32c_masked(event->data, event->len), 4, err);
    if (st == GF_OK && (fwrite(out.data, 1, out.len, e->file) != out.len || fflush(e->file)))
        st = gf_fail(err, GF_EIO, "%s: %s", e->path, strerror(errno));
    gf_buf_free(&out);
    return st;
}

static gf_status start_event(gf_buf *b, int64_t step, gf_err *err)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    TRY(put_double(b, 1, (double)t.tv_sec + 1e-9 * (double)t.tv_nsec, err));
    return step ? put_int(b, 2, step, err) : GF_OK; /* 0 is protobuf's default */
}

/* An event with one value; `value` is freed. */
static gf_status write_value(gf_events *e, int64_t step, gf_buf *value, gf_status st, gf_err *err)
{
    gf_buf event = {0}, summary = {0};
    if (st == GF_OK)
        st = start_event(&event, step, err);
    if (st == GF_OK)
        st = put_message(&summary, 1, value, err);
    if (st == GF_OK)
        st = put_message(&event, 5, &summary, err);
    if (st == GF_OK)
        st = write_record(e, &event, err);
    gf_buf_free(value);
    gf_buf_free(&summary);
    gf_buf_free(&event);
    return st;
}

gf_status gf_events_scalar(gf_events *e, const char *tag, int64_t step, double value, gf_err *err)
{
    gf_buf v = {0};
    gf_status st = put_text(&v, 1, tag, err);
    if (st == GF_OK)
        st = put_float(&v, 2, value, err);
    return write_value(e, step, &v, st, err);
}

/* SummaryMetadata: which plugin's a value is, and what the plugin keeps there. */
static gf_status put_plugin(gf_buf *value, const char *plugin, gf_buf *content, gf_err *err)
{
    gf_buf data = {0}, metadata = {0};
    gf_status st = GF_OK;
    TRYG(put_text(&data, 1, plugin, err));
    if (content)
        TRYG(put_message(&data, 2, content, err));
    TRYG(put_message(&metadata, 1, &data, err));
    TRYG(put_message(value, 9, &metadata, err));
out:
    gf_buf_free(&data);
    gf_buf_free(&metadata);
    return st;
}

gf_status gf_events_text(gf_events *e, const char *tag, int64_t step, const char *markdown,
                         gf_err *err)
{
    gf_buf v = {0}, tensor = {0}, shape = {0}, dim = {0};
    gf_status st = GF_OK;
    TRYG(put_text(&v, 1, tag, err));
    TRYG(put_int(&tensor, 1, 7, err)); /* DT_STRING */
    TRYG(put_int(&dim, 1, 1, err));
    TRYG(put_message(&shape, 2, &dim, err));
    TRYG(put_message(&tensor, 2, &shape, err));
    TRYG(put_text(&tensor, 8, markdown, err));
    TRYG(put_message(&v, 8, &tensor, err));
    TRYG(put_plugin(&v, "text", NULL, err));
out:
    gf_buf_free(&tensor);
    gf_buf_free(&shape);
    gf_buf_free(&dim);
    return write_value(e, step, &v, st, err);
}

/* ---- hyper-parameters ------------------------------------------------------------------- */

static const int kinds[] = {1, 2, 3}; /* DATA_TYPE_STRING, _BOOL, _FLOAT64 */

/* Experiment: names and types of the options, tags of the metrics. */
static gf_status experiment(gf_buf *out, const gf_hparam *param, int params,
                            const char *const *metric, int metrics, gf_err *err)
{
    gf_buf info = {0}, name = {0};
    gf_status st = GF_OK;
    for (int i = 0; i < params; i++) {
        TRYG(put_text(&info, 1, param[i].name, err));
        TRYG(put_int(&info, 4, kinds[param[i].kind], err));
        TRYG(put_message(out, 4, &info, err));
    }
    for (int i = 0; i < metrics; i++) {
        TRYG(put_text(&name, 2, metric[i], err));
        TRYG(put_message(&info, 1, &name, err));
        TRYG(put_message(out, 5, &info, err));
    }
out:
    gf_buf_free(&info);
    gf_buf_free(&name);
    return st;
}

/* SessionStartInfo: a map of names to google.protobuf.Value. */
static gf_status session_start(gf_buf *out, const gf_hparam *param, int params, gf_err *err)
{
    gf_buf entry = {0}, value = {0};
    struct timespec t;
    gf_status st = GF_OK;
    for (int i = 0; i < params; i++) {
        TRYG(put_text(&entry, 1, param[i].name, err));
        if (param[i].kind == GF_HPARAM_TEXT)
            TRYG(put_text(&value, 3, param[i].text, err));
        else if (param[i].kind == GF_HPARAM_BOOL)
            TRYG(put_int(&value, 4, param[i].number != 0, err));
        else
            TRYG(put_double(&value, 2, param[i].number, err));
        TRYG(put_message(&entry, 2, &value, err));
        TRYG(put_message(out, 1, &entry, err));
    }
    clock_gettime(CLOCK_REALTIME, &t);
    TRYG(put_double(out, 5, (double)t.tv_sec, err)); /* start_time_secs */
out:
    gf_buf_free(&entry);
    gf_buf_free(&value);
    return st;
}

/* HParamsPluginData with `message` in its field; no value beside it. */
static gf_status write_hparams(gf_events *e, const char *tag, int field, gf_buf *message,
                               gf_status st, gf_err *err)
{
    gf_buf v = {0}, data = {0};
    if (st == GF_OK)
        st = put_int(&data, 1, 0, err); /* version */
    if (st == GF_OK)
        st = put_message(&data, field, message, err);
    if (st == GF_OK)
        st = put_text(&v, 1, tag, err);
    if (st == GF_OK)
        st = put_plugin(&v, "hparams", &data, err);
    gf_buf_free(message);
    gf_buf_free(&data);
    return write_value(e, 0, &v, st, err);
}

gf_status gf_events_hparams(gf_events *e, const gf_hparam *param, int params,
                            const char *const *metric, int metrics, gf_err *err)
{
    gf_buf message = {0};
    gf_status st = experiment(&message, param, params, metric, metrics, err);
    TRY(write_hparams(e, "_hparams_/experiment", 2, &message, st, err));
    st = session_start(&message, param, params, err);
    return write_hparams(e, "_hparams_/session_start_info", 3, &message, st, err);
}

gf_status gf_events_hparams_end(gf_events *e, bool success, gf_err *err)
{
    gf_buf message = {0};
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    gf_status st = put_int(&message, 1, success ? 1 : 2, err); /* STATUS_SUCCESS, _FAILURE */
    if (st == GF_OK)
        st = put_double(&message, 2, (double)t.tv_sec, err); /* end_time_secs */
    return write_hparams(e, "_hparams_/session_end_info", 4, &message, st, err);
}

/* ---- files ------------------------------------------------------------------------------ */

/* Seconds for the file's name: now, and behind every file that is there. */
static long long name_time(const char *dir)
{
    long long t = (long long)time(NULL);
    DIR *d = opendir(dir);
    if (!d)
        return t;
    for (const struct dirent *f; (f = readdir(d));) {
        if (strncmp(f->d_name, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        const long long other = strtoll(f->d_name + sizeof PREFIX - 1, NULL, 10);
        if (other >= t && other < INT64_MAX)
            t = other + 1;
    }
    closedir(d);
    return t;
}

/* "brain.Event:2", then a session's start: readers drop what older files have of its steps. */
static gf_status write_start(gf_events *e, int64_t step, gf_err *err)
{
    gf_buf event = {0}, log = {0};
    gf_status st = GF_OK;
    TRYG(start_event(&event, 0, err));
    TRYG(put_text(&event, 3, "brain.Event:2", err));
    TRYG(write_record(e, &event, err));
    gf_buf_free(&event);
    TRYG(start_event(&event, step ? step + 1 : 0, err));
    TRYG(put_int(&log, 1, 1, err)); /* SessionLog.START */
    TRYG(put_message(&event, 7, &log, err));
    TRYG(write_record(e, &event, err));
out:
    gf_buf_free(&event);
    gf_buf_free(&log);
    return st;
}

gf_status gf_events_open(gf_events **out, const char *dir, int64_t step, gf_err *err)
{
    char host[256] = "localhost";
    gf_status st = GF_OK;
    *out = NULL;
    TRY(gf_dir_make(dir, err));
    gf_events *e = gf_alloc(1, sizeof *e, err);
    if (!e)
        return GF_ENOMEM;
    if (gethostname(host, sizeof host - 1))
        strcpy(host, "localhost");
    e->path =
        gf_format(err, "%s/" PREFIX "%lld.%s.%ld.0", dir, name_time(dir), host, (long)getpid());
    if (!e->path) {
        st = GF_ENOMEM;
        goto out;
    }
    e->file = fopen(e->path, "wxe");
    if (!e->file) {
        st = gf_fail(err, GF_EIO, "%s: %s", e->path, strerror(errno));
        goto out;
    }
    st = write_start(e, step, err);
out:
    if (st != GF_OK)
        gf_events_close(e, NULL);
    else
        *out = e;
    return st;
}

gf_status gf_events_close(gf_events *e, gf_err *err)
{
    gf_status st = GF_OK;
    if (!e)
        return GF_OK;
    if (e->file && fclose(e->file))
        st = gf_fail(err, GF_EIO, "%s: %s", e->path, strerror(errno));
    free(e->path);
    free(e);
    return st;
}
