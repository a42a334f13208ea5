/* message.c - the one line on stderr for what failed. Contract: commands.h. */
#include "cli/commands.h"

#include <stdatomic.h>
#include <stdio.h>

void gf_print_error(gf_status status, gf_err *err)
{
    static atomic_flag said = ATOMIC_FLAG_INIT; /* a thread that ends the process may come first */
    if (status == GF_OK || atomic_flag_test_and_set(&said))
        return;
    for (char *c = err->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    fprintf(stderr, "graft: %s\n", err->text[0] ? err->text : gf_status_text(status));
}
