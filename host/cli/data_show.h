/* data_show.h - examples as training sees them, turn by turn, with the trained tokens marked. */
#ifndef GRAFT_HOST_CLI_DATA_SHOW_H
#define GRAFT_HOST_CLI_DATA_SHOW_H

#include "text/dataset.h"

typedef struct {
    gf_tokenizer *tokenizer; /* NULL: ids are shown */
    bool color;              /* trained tokens green; else between [[ and ]] */
    gf_buf out;
} gf_data_view;

/* A gf_example_fn for gf_data_options.look; ctx is the view. */
gf_status gf_data_show(void *ctx, int64_t number, const gf_example *e, const gf_turns *turns,
                       gf_err *err);

#endif
