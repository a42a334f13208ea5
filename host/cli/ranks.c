/* ranks.c - see ranks.h. */
#include "cli/ranks.h"

#include "cli/commands.h"

#include <unistd.h>

/* In another thread than the work, which may hang: nothing is closed, and what was being written is
 * not there, as after any kill; the last checkpoint is. */
static void end_process(void *ctx, const char *text)
{
    gf_err err = {0};
    (void)ctx;
    gf_fail(&err, GF_EPEER, "%s", text);
    gf_print_error(GF_EPEER, &err);
    _exit(gf_exit_code(GF_EPEER));
}

gf_status gf_ranks_open(gf_comm *c, const gf_options *o, gf_err *err)
{
    const gf_comm_options opt = {.rank = o->given.rank ? (int)o->rank : -1,
                                 .size = o->given.world_size ? (int)o->world_size : 0,
                                 .rendezvous = o->rendezvous};
    TRY(gf_comm_open(c, &opt, err));
    gf_comm_on_lost(c, end_process, NULL);
    return GF_OK;
}
