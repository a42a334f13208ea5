/* machine.h - what this machine has: memory, processor, cores. */
#ifndef GRAFT_HOST_CLI_MACHINE_H
#define GRAFT_HOST_CLI_MACHINE_H

#include "graft/base.h"

typedef struct {
    char cpu[128];          /* model name; empty: not known */
    int cores;              /* processors that this process may run on */
    uint64_t memory, free_; /* bytes, within a container's limit; 0: not known */
} gf_machine;

void gf_machine_look(gf_machine *m);
/* Bytes of memory that this process has in use now, without the pages of mapped files; 0: not
 * known. */
uint64_t gf_machine_resident(void);

#endif
