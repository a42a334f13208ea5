// The sample kernels and what can be wrong with each: samples.cu makes a kernel NAME_MUTANT of
// every line, test_mutants.cpp runs them. "none" is the kernel as it should be.
#pragma once

#define RMSNORM_MUTANTS(X)                                                                         \
    X(none)                                                                                        \
    X(no_sync)        /* reads the warps' sums without __syncthreads */                            \
    X(past_the_end)   /* i <= n / 8 */                                                             \
    X(misaligned)     /* 128-bit loads from 8 bytes further on */                                  \
    X(half_mask)      /* a shuffle whose mask names half of the warp */                            \
    X(partials_unset) /* adds 32 partial sums where fewer were written */                          \
    X(four_steps)     /* the shuffles stop at 2 */

#define GEMM_MUTANTS(X)                                                                            \
    X(none)                                                                                        \
    X(no_wait)         /* no cp.async.wait_group */                                                \
    X(wait_count)      /* wait_group 2 where the tile's group is the second newest */              \
    X(no_commit)       /* no cp.async.commit_group behind the loads of the loop */                 \
    X(no_sync_landed)  /* waits, but no __syncthreads before the others' part is read */           \
    X(no_sync_reuse)   /* no __syncthreads before the buffer is filled again */                    \
    X(b_fragment)      /* the halves of B's registers mixed up */                                  \
    X(a_order)         /* a1 and a2 swapped in the mma */                                          \
    X(c_layout)        /* rows and columns of the accumulators mixed up */                         \
    X(swizzle)         /* read with another swizzle than written */                                \
    X(ldmatrix_row)    /* lanes 8 .. 15 give the rows of lanes 0 .. 7 */                           \
    X(lda)             /* A's rows are N apart instead of K */                                     \
    X(no_zero_fill)    /* the tail of k is copied, not filled with zeros */                        \
    X(tail_store)      /* stores rows beyond M */                                                  \
    X(small_copy)      /* copies 8 of 16 bytes */                                                  \
    X(accumulate_once) /* the accumulators start anew in each step */

#define FLASH_MUTANTS(X)                                                                           \
    X(none)                                                                                        \
    X(no_trans)    /* V's ldmatrix without .trans */                                               \
    X(no_sync_k)   /* K is replaced while others still read it */                                  \
    X(no_sync_v)   /* V likewise */                                                                \
    X(causal)      /* the diagonal is masked too */                                                \
    X(no_rescale)  /* the old sums keep the old maximum */                                         \
    X(half_reduce) /* the maximum over two of four lanes */                                        \
    X(exit_early)  /* returns with copies in flight */                                             \
    X(wait_count)  /* K is read while only V's group has to be there */

#define TRANSPOSE_MUTANTS(X)                                                                       \
    X(none)                                                                                        \
    X(no_syncwarp) /* reads what other lanes wrote, without __syncwarp */                          \
    X(no_syncwarp_reuse)                                                                           \
    X(row_too_long) /* 33 columns where the tile has 32 */

#define PIPELINE_MUTANTS(X)                                                                        \
    X(none)                                                                                        \
    X(count)    /* the barrier is for fewer threads than come */                                   \
    X(id)       /* producers and consumers meet at different barriers */                           \
    X(no_empty) /* nobody waits until the buffer has been read */                                  \
    X(odd_count)

#define SUM_MUTANTS(X)                                                                             \
    X(none)                                                                                        \
    X(not_atomic)        /* *out += from every block */                                            \
    X(divergent_barrier) /* __syncthreads in a branch */                                           \
    X(divergent_shuffle) /* a full-mask shuffle in a branch */                                     \
    X(exit_before)       /* threads without work return before the barrier */                      \
    X(shared_not_atomic) /* several warps add to one place in shared memory */                     \
    X(tail_unset)        /* the tail of a tile is read and was not written */                      \
    X(missing_member)    /* __syncwarp with a mask that lacks lanes which come */
