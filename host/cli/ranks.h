/* ranks.h - the ranks of a command that several processes work on together: from the options to
 * open communication, and how such a process ends when another one is gone. */
#ifndef GRAFT_HOST_CLI_RANKS_H
#define GRAFT_HOST_CLI_RANKS_H

#include "cli/options.h"
#include "comm/comm.h"

/* gf_comm_open by --rank, --world-size, --rendezvous and the environment. A process that cannot
 * come to its end by itself after another rank was lost says so in one line and exits with 1.
 * Closed by gf_comm_close. */
gf_status gf_ranks_open(gf_comm *c, const gf_options *o, gf_err *err);

#endif
