// standin_cuda_graph.cpp - stream capture and graphs of the stand-in for libcuda.
//
// A captured call becomes a node that follows the nodes in its stream's frontier. Launching a graph
// enqueues its nodes, each made anew, in an order drawn at random from those that respect the
// edges.
#include "standin_cuda.h"

#include <algorithm>

namespace standin
{

size_t Capture::add(const char *what, Work work, std::vector<size_t> after)
{
    auto node = std::make_shared<CUgraphNode_st>();
    node->what = what;
    node->work = std::move(work);
    node->after = std::move(after);
    graph->nodes.push_back(std::move(node));
    return graph->nodes.size() - 1;
}

} // namespace standin

using namespace standin;

void CUctx_st::refuse_in_capture(const char *name)
{
    bool bad = false;
    for (auto *c : captures) {
        bool watched = c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
                       (c->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL &&
                        c->thread == std::this_thread::get_id());
        if (watched)
            bad = c->invalid = true;
    }
    if (bad)
        refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "%s while a stream is being captured", name);
}

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUstream_st &s = c.stream(stream);
        if (&s == c.streams[0].get())
            refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured");
        if (s.capture)
            refuse(CUDA_ERROR_ILLEGAL_STATE);
        s.capture = std::make_shared<Capture>();
        s.capture->context = &c;
        s.capture->origin = &s;
        s.capture->mode = mode;
        s.capture->thread = std::this_thread::get_id();
        s.capture->graph = std::make_unique<CUgraph_st>();
        s.frontier.clear();
        c.captures.insert(s.capture.get());
    });
}

// Whether every node is reached backwards from `frontier`.
static bool covers(const CUgraph_st &graph, const std::vector<size_t> &frontier)
{
    std::vector<bool> seen(graph.nodes.size());
    std::vector<size_t> open = frontier;
    while (!open.empty()) {
        size_t i = open.back();
        open.pop_back();
        if (seen[i])
            continue;
        seen[i] = true;
        open.insert(open.end(), graph.nodes[i]->after.begin(), graph.nodes[i]->after.end());
    }
    return std::all_of(seen.begin(), seen.end(), [](bool b) { return b; });
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUstream_st &s = c.stream(stream);
        *graph = nullptr;
        if (!s.capture)
            refuse(CUDA_ERROR_ILLEGAL_STATE);
        auto capture = s.capture;
        if (capture->origin != &s)
            refuse(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
        if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
            capture->thread != std::this_thread::get_id())
            refuse(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
        bool whole = covers(*capture->graph, s.frontier);
        for (auto *other : capture->joined) {
            other->capture.reset();
            other->frontier.clear();
        }
        s.capture.reset();
        s.frontier.clear();
        c.captures.erase(capture.get());
        if (capture->invalid)
            refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        if (!whole)
            refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
                   "a stream that joined a capture was not joined back before its end");
        *graph = capture->graph.get();
        c.graphs[*graph] = std::move(capture->graph);
    });
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUstream_st &s = c.stream(stream);
        *status = !s.capture           ? CU_STREAM_CAPTURE_STATUS_NONE
                  : s.capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                       : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    });
}

// ---- graphs ---------------------------------------------------------------------------------
static CUgraph_st &find(CUctx_st &c, CUgraph handle)
{
    auto found = c.graphs.find(handle);
    if (found == c.graphs.end())
        refuse(CUDA_ERROR_INVALID_HANDLE, "no such graph");
    return *found->second;
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUgraph_st &g = find(c, graph);
        if (nodes)
            for (size_t i = 0; i < *count; i++)
                nodes[i] = i < g.nodes.size() ? g.nodes[i].get() : nullptr;
        if (!nodes || *count > g.nodes.size())
            *count = g.nodes.size();
    });
}

CUresult cuGraphDestroy(CUgraph graph)
{
    return with_context([&](CUctx_st &c, Lock &) {
        find(c, graph);
        c.graphs.erase(graph);
    });
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph,
                                     unsigned long long flags)
{
    return with_context([&](CUctx_st &c, Lock &) {
        if (flags)
            refuse(CUDA_ERROR_NOT_SUPPORTED, "cuGraphInstantiate: flags %llu", flags);
        auto x = std::make_unique<CUgraphExec_st>();
        x->graph = find(c, graph); // nodes are shared: they do not change
        *executable = x.get();
        c.executables[*executable] = std::move(x);
    });
}

static CUgraphExec_st &find(CUctx_st &c, CUgraphExec handle)
{
    auto found = c.executables.find(handle);
    if (found == c.executables.end())
        refuse(CUDA_ERROR_INVALID_HANDLE, "no such executable graph");
    return *found->second;
}

CUresult cuGraphExecDestroy(CUgraphExec executable)
{
    return with_context([&](CUctx_st &c, Lock &) {
        find(c, executable);
        c.executables.erase(executable);
    });
}

// The nodes in a random order that respects their edges.
static std::vector<size_t> order(CUctx_st &c, const CUgraph_st &graph)
{
    std::vector<size_t> result, ready, missing(graph.nodes.size());
    std::vector<std::vector<size_t>> followers(graph.nodes.size());
    for (size_t i = 0; i < graph.nodes.size(); i++) {
        missing[i] = graph.nodes[i]->after.size();
        for (size_t j : graph.nodes[i]->after)
            followers[j].push_back(i);
        if (missing[i] == 0)
            ready.push_back(i);
    }
    while (!ready.empty()) {
        std::swap(ready[c.random() % ready.size()], ready.back());
        size_t i = ready.back();
        ready.pop_back();
        result.push_back(i);
        for (size_t f : followers[i])
            if (--missing[f] == 0)
                ready.push_back(f);
    }
    return result;
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUgraphExec_st &x = find(c, executable);
        CUstream_st &s = c.stream(stream);
        if (s.capture) {
            s.capture->invalid = true;
            refuse(CUDA_ERROR_NOT_SUPPORTED, "cuGraphLaunch into a capture");
        }
        for (size_t i : order(c, x.graph))
            c.push(s, x.graph.nodes[i]->what, x.graph.nodes[i]->work);
    });
}
