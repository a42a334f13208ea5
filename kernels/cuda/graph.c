/* graph.c - captured passes: what a row's shape launches is recorded once and replayed. Contract:
 * graft/ops.h.
 *
 * A captured launch keeps the values of its arguments, so what differs between rows of one shape
 * stands in memory (row.h). Where launches must be seen one by one (be->check, GRAFT_CUDA_SYNC)
 * nothing is captured and the ops run as they are called. */
#include "device.h"

#include <stdlib.h>

/* Graphs that are kept; the one used longest ago goes first. A run has a few dozen buckets of row
 * length, and as many of trained tokens. */
#define GRAPHS 64

typedef struct {
    CUgraphExec exec; /* NULL: no graph in this place */
    uint64_t key;
    uint64_t used; /* when: counts replays and captures */
    CUevent ran;   /* recorded behind its last launch: until then it may not be destroyed */
    gf_tally cost; /* what the pass adds to the tally */
    gf_kernel_set kernels;
} graph;

struct gf_graphs {
    graph kept[GRAPHS];
    uint64_t clock;
    /* of the capture under way */
    uint64_t key;
    gf_tally before;
    gf_kernel_set outside; /* launched since the last wait, before it */
};

static bool one_by_one(const gf_backend *be)
{
    return be->dry || be->check || be->cuda->each;
}

/* A tally is counters and nothing else: whatever is counted, a replay costs it again. */
static void add_cost(gf_tally *to, const gf_tally *cost, int64_t times)
{
    _Static_assert(sizeof(gf_tally) % sizeof(int64_t) == 0, "a tally is made of int64_t");
    int64_t *sum = (int64_t *)to;
    const int64_t *add = (const int64_t *)cost;
    for (size_t i = 0; i < sizeof *to / sizeof *sum; i++)
        sum[i] += times * add[i];
}

static gf_status launch(gf_backend *be, graph *g)
{
    gf_cuda *c = be->cuda;
    CALL(be, graph_launch, g->exec, c->stream);
    CALL(be, event_record, g->ran, c->stream);
    gf_kernels_add(&c->kernels.since, &g->kernels);
    g->used = ++c->graphs->clock;
    return GF_OK;
}

gf_status gf_cuda_replay(gf_backend *be, uint64_t key, bool *done)
{
    gf_graphs *graphs = be->cuda->graphs;
    *done = false;
    if (one_by_one(be) || !graphs)
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "a replay"));
    for (int i = 0; i < GRAPHS; i++) {
        graph *g = &graphs->kept[i];
        if (!g->exec || g->key != key)
            continue;
        TRY(launch(be, g));
        add_cost(&be->tally, &g->cost, 1);
        be->tally.replayed++;
        *done = true;
        return GF_OK;
    }
    return GF_OK;
}

gf_status gf_cuda_capture(gf_backend *be, uint64_t key)
{
    gf_cuda *c = be->cuda;
    if (one_by_one(be))
        return GF_OK;
    TRY(gf_cuda_ready_outside(be, "a capture"));
    if (!c->graphs && !(c->graphs = gf_alloc(1, sizeof *c->graphs, &be->err)))
        return GF_ENOMEM;
    /* relaxed: modules are loaded when their first kernel is launched, in the middle of a pass */
    CALL(be, capture_begin, c->stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    c->capturing = true;
    c->graphs->key = key;
    c->graphs->before = be->tally;
    c->graphs->outside = c->kernels.since;
    c->kernels.since = (gf_kernel_set){0};
    return GF_OK;
}

/* A free place, or that of the graph used longest ago: it has run long since. */
static gf_status take_place(gf_backend *be, graph **out)
{
    gf_cuda *c = be->cuda;
    graph *oldest = &c->graphs->kept[0];
    for (int i = 0; i < GRAPHS && oldest->exec; i++)
        if (!c->graphs->kept[i].exec || c->graphs->kept[i].used < oldest->used)
            oldest = &c->graphs->kept[i];
    if (oldest->exec) {
        CALL(be, event_wait, oldest->ran);
        (void)c->call.graph_exec_destroy(oldest->exec);
        oldest->exec = NULL;
    }
    if (!oldest->ran)
        CALL(be, event_create, &oldest->ran, CU_EVENT_DISABLE_TIMING);
    *out = oldest;
    return GF_OK;
}

static gf_status keep_and_launch(gf_backend *be, CUgraph captured, const gf_kernel_set *kernels)
{
    gf_cuda *c = be->cuda;
    gf_graphs *graphs = c->graphs;
    graph *g = NULL;
    TRY(take_place(be, &g));
    CALL(be, graph_instantiate, &g->exec, captured, 0);
    g->key = graphs->key;
    g->kernels = *kernels;
    g->cost = be->tally;
    add_cost(&g->cost, &graphs->before, -1);
    be->tally.captured++;
    return launch(be, g);
}

gf_status gf_cuda_capture_end(gf_backend *be, bool failed)
{
    gf_cuda *c = be->cuda;
    CUgraph captured = NULL;
    gf_status st = GF_OK;
    if (!c->capturing)
        return GF_OK;
    c->capturing = false;
    const gf_kernel_set kernels = c->kernels.since;
    c->kernels.since = c->graphs->outside;
    const CUresult code = c->call.capture_end(c->stream, &captured);
    if (failed) { /* the caller has the error: what was captured must only go */
        be->tally = c->graphs->before;
    } else if (code != CUDA_SUCCESS) {
        st = gf_cuda_fail(be, code, "cuStreamEndCapture", NULL);
    } else {
        st = keep_and_launch(be, captured, &kernels);
    }
    if (captured)
        (void)c->call.graph_destroy(captured);
    return st;
}

void gf_graphs_close(gf_backend *be)
{
    gf_cuda *c = be->cuda;
    if (!c->graphs)
        return;
    for (int i = 0; i < GRAPHS; i++) {
        if (c->graphs->kept[i].exec)
            (void)c->call.graph_exec_destroy(c->graphs->kept[i].exec);
        if (c->graphs->kept[i].ran)
            (void)c->call.event_destroy(c->graphs->kept[i].ran);
    }
    free(c->graphs);
    c->graphs = NULL;
}
