/* terminal.h - what a stream is written to: how wide, and with colours or not. */
#ifndef GRAFT_HOST_CLI_TERMINAL_H
#define GRAFT_HOST_CLI_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

/* Columns of the terminal; of what is none COLUMNS, if it is set, else 80. */
int gf_terminal_columns(FILE *out);
/* Is it a terminal whose user has not asked for no colours (NO_COLOR)? */
bool gf_terminal_colors(FILE *out);

#endif
