/* data_split.h - `graft data --split`: the records of a data set as two files. */
#ifndef GRAFT_HOST_CLI_DATA_SPLIT_H
#define GRAFT_HOST_CLI_DATA_SPLIT_H

#include "cli/options.h"
#include "text/dataset.h"

/* Writes every record of --data, as it stands there but on one line, to train.jsonl or eval.jsonl
 * in
 * --output-dir, which is made and must have neither: --split by --seed, equal texts on one side.
 * `data` holds all of the records. What was written is appended to `out`, as text or as the
 * "split" of a JSON object. Each file appears complete or not at all. */
gf_status gf_data_split(const gf_dataset *data, const gf_options *o, gf_buf *out, gf_err *err);

#endif
