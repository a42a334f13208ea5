/* nccl.h - inside host/comm: NCCL, found at run time (libnccl.so.2). Its types and numbers are
 * declared in nccl.c: the few used have not changed since 2.14, and no build depends on its header.
 *
 * The communicator does not block: a call that NCCL has not finished is polled, so that a rank that
 * dies meanwhile is noticed. `loss` (NULL: nobody watches) ends these waits, and what it cancels
 * with, which runs in another thread, frees a stream that waits in one of NCCL's kernels. */
#ifndef GRAFT_HOST_COMM_NCCL_H
#define GRAFT_HOST_COMM_NCCL_H

#include "comm/loss.h"

typedef struct gf_nccl gf_nccl;

typedef struct {
    char bytes[128];
} gf_nccl_id;

/* GF_EMISSING: there is no library, or one before 2.14. */
gf_status gf_nccl_load(gf_nccl **n, gf_err *err);
int gf_nccl_version(const gf_nccl *n); /* 2.28.9 is 22809 */
gf_status gf_nccl_new_id(gf_nccl *n, gf_nccl_id *id, gf_err *err);
gf_status gf_nccl_join(gf_nccl *n, const gf_nccl_id *id, int rank, int size, gf_loss *loss,
                       gf_err *err);
gf_status gf_nccl_sum(gf_nccl *n, gf_loss *loss, void *x, size_t count, void *stream, gf_err *err);
/* Did what was enqueued fail? Does not wait for the device. */
gf_status gf_nccl_check(gf_nccl *n, gf_loss *loss, gf_err *err);
/* orderly: every rank is done with it. Otherwise what is still under way is aborted. NULL will do.
 */
void gf_nccl_close(gf_nccl *n, gf_loss *loss, bool orderly);

#endif
