/* test_standin_graph.c - capture and replay in the stand-in for libcuda. */
#include "standin_test.h"

static CUgraphExec end_capture(CUstream s, size_t *nodes)
{
    CUgraph g;
    CUgraphExec x;
    CU(cuStreamEndCapture(s, &g));
    CU(cuGraphGetNodes(g, NULL, nodes));
    CU(cuGraphInstantiate(&x, g, 0));
    CU(cuGraphDestroy(g));
    return x;
}

/* Some work on 100 words at p, from one word of the host. */
static void work(CUstream s, CUdeviceptr p, const unsigned *from, unsigned *to)
{
    CU(cuMemsetD32Async(p, 2, 100, s));
    CU(cuMemcpyHtoDAsync(p, from, sizeof *from, s));
    CU(add(s, p, 100, 10));
    CU(cuMemcpyDtoDAsync(p + 4, p, 4, s));
    CU(add(s, p, 50, 100));
    CU(cuMemcpyDtoHAsync(to, p, 400, s));
}

Test(standin_graph, a_replay_does_what_the_calls_do)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p = device_memory(400);
    unsigned from = 7, direct[100], replayed[100];
    size_t nodes;
    work(s, p, &from, direct);
    CU(cuStreamSynchronize(s));
    CU(cuMemsetD32(p, 0, 100));
    CU(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    work(s, p, &from, replayed);
    CUgraphExec x = end_capture(s, &nodes);
    cr_assert_eq(nodes, 6);
    CU(cuStreamSynchronize(s));
    cr_assert_eq(word_at(p), 0, "a capture runs nothing");
    for (unsigned i = 0; i < 3; i++) {
        from = 7 + i; /* copies read the host when they run, in every replay */
        CU(cuGraphLaunch(x, s));
        cr_assert_eq(replayed[5], 0xffffffff);
        CU(cuStreamSynchronize(s));
        cr_assert_eq(replayed[0], 117 + i);
        cr_assert_eq(replayed[1], 117 + i);
        cr_assert_arr_eq(replayed + 2, direct + 2, 98 * sizeof *direct);
    }
    CU(cuGraphExecDestroy(x));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuGraphLaunch(x, s));
}

Test(standin_graph, a_node_keeps_the_parameters_of_its_capture)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p = device_memory(4);
    unsigned n = 1, v = 5;
    size_t nodes;
    void *parameters[] = {&p, &n, &v};
    CUfunction f = kernel("add");
    CU(cuMemsetD32Async(p, 0, 1, s));
    CU(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s, parameters, NULL));
    v = 100;
    CUgraphExec x = end_capture(s, &nodes);
    CU(cuGraphLaunch(x, s));
    CU(cuGraphLaunch(x, s));
    CU(cuStreamSynchronize(s));
    cr_assert_eq(word_at(p), 10);
}

Test(standin_graph, waiting_ends_a_capture)
{
    open_device();
    CUstream s = new_stream();
    CUstreamCaptureStatus status;
    CUgraph g;
    CU(cuStreamIsCapturing(s, &status));
    cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
    for (int mode = CU_STREAM_CAPTURE_MODE_GLOBAL; mode <= CU_STREAM_CAPTURE_MODE_RELAXED; mode++) {
        CU(cuStreamBeginCapture(s, (CUstreamCaptureMode)mode));
        CU(cuStreamIsCapturing(s, &status));
        cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
        REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(s));
        CU(cuStreamIsCapturing(s, &status));
        cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
        REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
        cr_assert_null(g);
    }
    REFUSED(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(s, &g));
}

Test(standin_graph, memory_is_not_allocated_in_a_capture)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p;
    CUgraph g;
    CU(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc(&p, 16));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(s, &g));
    CU(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU(cuMemAlloc(&p, 16)); /* relaxed: on the program's own responsibility */
    CU(cuStreamEndCapture(s, &g));
    CUstream blocking;
    CU(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    CU(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cuMemsetD8Async(p, 0, 16, NULL));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(blocking, &g));
}

/* Two branches, one word each, that join: (1 + 10) and (1 + 20) become 11 + 21 * 1000 by a copy of
 * what only the join orders. */
static int branches(void)
{
    open_device();
    CUstream a = new_stream(), b = new_stream();
    CUevent fork_, join;
    CUdeviceptr p = device_memory(12);
    size_t nodes;
    CU(cuEventCreate(&fork_, CU_EVENT_DISABLE_TIMING));
    CU(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CU(cuMemsetD32Async(p, 1, 3, a));
    CU(cuEventRecord(fork_, a));
    CU(cuStreamWaitEvent(b, fork_, 0));
    CU(add(b, p + 4, 1, 20));
    CU(add(a, p, 1, 10));
    CU(cuEventRecord(join, b));
    CU(cuStreamWaitEvent(a, join, 0));
    CU(cuMemcpyDtoDAsync(p + 8, p + 4, 4, a));
    CU(add(a, p, 3, 100));
    CUgraphExec x = end_capture(a, &nodes);
    for (int i = 0; i < 2; i++) {
        CU(cuGraphLaunch(x, a));
        CU(cuStreamSynchronize(a));
        if (nodes != 5 || word_at(p) != 111 || word_at(p + 4) != 121 || word_at(p + 8) != 121)
            return 1;
    }
    CUstreamCaptureStatus status;
    CU(cuStreamIsCapturing(b, &status));
    return status != CU_STREAM_CAPTURE_STATUS_NONE;
}

Test(standin_graph, branches_are_captured_through_events)
{
    cr_assert_eq(count_seeds(8, branches, 0), 8);
}

Test(standin_graph, a_branch_has_to_join)
{
    open_device();
    CUstream a = new_stream(), b = new_stream();
    CUevent e;
    CUgraph g;
    CUdeviceptr p = device_memory(4);
    CU(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CU(cuEventRecord(e, a));
    CU(cuStreamWaitEvent(b, e, 0));
    CU(cuMemsetD8Async(p, 0, 4, b));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(b, &g));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(a, &g));
    CU(cuMemsetD8Async(p, 0, 4, b)); /* an ordinary stream again */
    CU(cuStreamSynchronize(b));
}

Test(standin_graph, a_capture_waits_for_nothing_outside)
{
    open_device();
    CUstream a = new_stream(), b = new_stream();
    CUevent e;
    CUgraph g;
    CU(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
    CU(cuEventRecord(e, b));
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(a, e, 0));
    REFUSED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &g));
}
