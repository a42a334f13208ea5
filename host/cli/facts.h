/* facts.h - what does not change while a run goes on, for those who look at it: options, data,
 * provenance. */
#ifndef GRAFT_HOST_CLI_FACTS_H
#define GRAFT_HOST_CLI_FACTS_H

#include "cli/session.h"
#include "format/tensorboard.h"

/* Two members of a JSON object, "data" and "eval_data" (null without examples): what `graft data`
 * reports. Appends. */
gf_status gf_facts_data(const gf_dataset *data, const gf_dataset *eval, int64_t max_length,
                        gf_buf *out, gf_err *err);

/* Members "given" (names of the options that are not left at their defaults) and "command" (the
 * words of the command line). Appends. */
gf_status gf_facts_options(const gf_options *o, gf_buf *out, gf_err *err);

/* The options for TensorBoard; the texts are in *root, which the caller deletes, and *param is the
 * caller's to free. */
gf_status gf_facts_hparams(const gf_options *o, cJSON **root, gf_hparam **param, int *count,
                           gf_err *err);

/* --report-to and --metrics-file, checked: GF_EARG for names that mean nothing, for a file that no
 * node exporter would read or whose folder is not there. */
gf_status gf_facts_targets(const gf_options *o, bool *tensorboard, bool *html, gf_err *err);

#endif
