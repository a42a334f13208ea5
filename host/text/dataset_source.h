/* dataset_source.h - the records of a data file as they stand there. */
#ifndef GRAFT_HOST_TEXT_DATASET_SOURCE_H
#define GRAFT_HOST_TEXT_DATASET_SOURCE_H

#include "base/json.h"

/* A record, its own text (n bytes), and the line where it begins. */
typedef gf_status (*gf_record_fn)(void *ctx, cJSON *record, const char *text, size_t n,
                                  int64_t line, gf_err *err);

/* Hands over the records of a .jsonl file (a line each, blank ones skipped) or of a .json file (an
 * array's elements, one object, or lines as in .jsonl), one after the other: the file is mapped,
 * never read as a whole. What is no such file is GF_EINPUT with what to do, Parquet among it. */
gf_status gf_records_read(const char *path, gf_record_fn fn, void *ctx, gf_err *err);
/* The same of a text in memory. */
gf_status gf_records_parse(const char *text, size_t size, bool lines, const char *path,
                           gf_record_fn fn, void *ctx, gf_err *err);

#endif
