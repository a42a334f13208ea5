// standin_cuda_stream.cpp - streams and events of the stand-in for libcuda: queues, and the order
// in which their work runs.
#include "standin_cuda.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace standin
{

double now()
{
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

Work simple(std::function<void(ptxvm::Device &)> body)
{
    return [body = std::move(body)] {
        return Step([body](ptxvm::Device &device) {
            body(device);
            return Progress::done;
        });
    };
}

// The code that a real device would end with.
static CUresult code_of(const ptxvm::Fault &f)
{
    if (strstr(f.what(), "misaligned"))
        return CUDA_ERROR_MISALIGNED_ADDRESS;
    if (strstr(f.what(), "out-of-bounds") || strstr(f.what(), "out of bounds"))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    return CUDA_ERROR_LAUNCH_FAILED;
}

} // namespace standin

using namespace standin;

// ---- handles --------------------------------------------------------------------------------
CUstream_st &CUctx_st::stream(CUstream handle)
{
    if (!handle || handle == CU_STREAM_LEGACY)
        return *streams[0];
    if (handle == CU_STREAM_PER_THREAD)
        refuse(CUDA_ERROR_NOT_SUPPORTED, "per-thread default streams are not supported");
    for (auto &s : streams)
        if (s.get() == handle && s != streams[0])
            return *s;
    refuse(CUDA_ERROR_INVALID_HANDLE, "no such stream in this context (destroyed, or another's)");
}

CUevent_st &CUctx_st::event(CUevent handle)
{
    auto found = events.find(handle);
    if (found == events.end())
        refuse(CUDA_ERROR_INVALID_HANDLE,
               "no such event in this context (destroyed, or another's)");
    return *found->second;
}

// ---- queues ---------------------------------------------------------------------------------
// The legacy stream and the blocking streams wait for each other.
void CUctx_st::append(CUstream_st &s, Item item)
{
    if (&s == streams[0].get()) {
        for (auto &other : streams)
            if (other->blocking && other->tail && !other->tail->done)
                item.after.push_back(other->tail);
    } else if (s.blocking && streams[0]->tail && !streams[0]->tail->done) {
        item.after.push_back(streams[0]->tail);
    }
    item.reached = std::make_shared<Marker>();
    s.tail = item.reached;
    s.queue.push_back(std::move(item));
}

void CUctx_st::push(CUstream_st &s, const char *what, Work work)
{
    if (s.capture) {
        if (s.capture->invalid)
            refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        s.frontier = {s.capture->add(what, std::move(work), s.frontier)};
        return;
    }
    if (&s == streams[0].get() && !captures.empty()) {
        for (auto *c : captures)
            if (c->origin->blocking)
                c->invalid = true;
        refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
               "%s on the legacy stream while a stream is being captured", what);
    }
    Item item;
    item.step = work();
    append(s, std::move(item));
}

Signal CUctx_st::mark(CUstream_st &s)
{
    append(s, Item());
    return s.tail;
}

// Runs the head of the stream.
void CUctx_st::run(CUstream_st &s, bool *outside)
{
    Item &head = s.queue.front();
    if (head.step && !broken) { // a broken context drops its work
        Progress progress = Progress::done;
        inside = true;
        try {
            progress = head.step(device);
        } catch (const ptxvm::Fault &f) {
            complain("%s", f.what());
            broken = code_of(f);
        }
        inside = false;
        if (progress == Progress::waiting) {
            *outside = true;
            return;
        }
    }
    head.reached->done = true;
    head.reached->at = now();
    s.queue.pop_front();
}

bool CUctx_st::step(bool *outside)
{
    *outside = false;
    size_t first = random() % streams.size();
    for (size_t i = 0; i < streams.size(); i++) {
        CUstream_st &s = *streams[(first + i) % streams.size()];
        if (s.queue.empty())
            continue;
        const auto &after = s.queue.front().after;
        if (!std::all_of(after.begin(), after.end(), [](const Signal &m) { return m->done; }))
            continue;
        bool waits = false;
        run(s, &waits);
        if (!waits)
            return true;
        *outside = true;
    }
    return false;
}

void CUctx_st::wait(Lock &lock, const Signal &until)
{
    while (!until->done) {
        bool outside;
        if (step(&outside))
            continue;
        if (!outside) { // events are recorded before they are waited for, so there is no cycle
            complain("internal: no stream can run, and none waits for another process");
            abort();
        }
        lock.unlock();
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        lock.lock();
    }
}

void CUctx_st::wait_all(Lock &lock)
{
    std::vector<Signal> tails;
    for (auto &s : streams)
        if (s->tail)
            tails.push_back(s->tail);
    for (auto &t : tails)
        wait(lock, t);
}

// ---- streams --------------------------------------------------------------------------------
CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int)
{
    return with_context([&](CUctx_st &c, Lock &) {
        if (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING))
            refuse(CUDA_ERROR_INVALID_VALUE);
        c.streams.push_back(std::make_unique<CUstream_st>());
        c.streams.back()->context = &c;
        c.streams.back()->blocking = !(flags & CU_STREAM_NON_BLOCKING);
        *stream = c.streams.back().get();
    });
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    return cuStreamCreateWithPriority(stream, flags, 0);
}

CUresult cuStreamDestroy(CUstream stream)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        CUstream_st &s = c.stream(stream);
        if (&s == c.streams[0].get())
            refuse(CUDA_ERROR_INVALID_HANDLE);
        if (s.capture) {
            s.capture->invalid = true;
            refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a stream is destroyed during capture");
        }
        if (s.tail)
            c.wait(lock, s.tail);
        c.streams.erase(std::find_if(c.streams.begin(), c.streams.end(),
                                     [&](const auto &p) { return p.get() == stream; }));
    });
}

CUresult cuStreamSynchronize(CUstream stream)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        CUstream_st &s = c.stream(stream);
        c.refuse_in_capture("cuStreamSynchronize");
        if (s.capture) {
            s.capture->invalid = true;
            refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                   "cuStreamSynchronize on a stream that is being captured");
        }
        c.wait(lock, c.mark(s));
    });
}

// A program that polls must see the device move: a query runs one item of some stream.
static void poll(CUctx_st &c, const Signal &until)
{
    bool outside;
    if (!until || until->done)
        return;
    c.step(&outside);
    if (!until->done && !c.broken)
        refuse(CUDA_ERROR_NOT_READY);
}

CUresult cuStreamQuery(CUstream stream)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUstream_st &s = c.stream(stream);
        c.refuse_in_capture("cuStreamQuery");
        poll(c, s.tail);
    });
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUstream_st &s = c.stream(stream);
        CUevent_st &e = c.event(event);
        if (e.capture && !e.capture->graph)
            refuse(CUDA_ERROR_CAPTURED_EVENT, "an event of a capture that has ended is waited for");
        if (e.capture) { // the stream becomes part of that capture
            if (s.capture && s.capture != e.capture)
                refuse(CUDA_ERROR_STREAM_CAPTURE_MERGE);
            if (!s.capture) {
                s.capture = e.capture;
                s.frontier.clear();
                e.capture->joined.insert(&s);
            }
            s.frontier.insert(s.frontier.end(), e.frontier.begin(), e.frontier.end());
            return;
        }
        if (s.capture) {
            s.capture->invalid = true;
            refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                   "a captured stream waits for an event recorded outside of its capture");
        }
        if (!e.recorded || e.recorded->done)
            return;
        Item item;
        item.after.push_back(e.recorded);
        c.append(s, std::move(item));
    });
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data)
{
    return with_context([&](CUctx_st &c, Lock &) {
        c.push(c.stream(stream), "cuLaunchHostFunc",
               simple([=](ptxvm::Device &) { function(data); }));
    });
}

// ---- events ---------------------------------------------------------------------------------
CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    return with_context([&](CUctx_st &c, Lock &) {
        if (flags & ~static_cast<unsigned>(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
            refuse(CUDA_ERROR_INVALID_VALUE);
        auto e = std::make_unique<CUevent_st>();
        e->context = &c;
        e->timed = !(flags & CU_EVENT_DISABLE_TIMING);
        *event = e.get();
        c.events[*event] = std::move(e);
    });
}

CUresult cuEventDestroy(CUevent event)
{
    return with_context([&](CUctx_st &c, Lock &) {
        c.event(event); // those who wait for its record keep the marker
        c.events.erase(event);
    });
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUevent_st &e = c.event(event);
        CUstream_st &s = c.stream(stream);
        e.capture = s.capture;
        e.frontier = s.frontier;
        if (!s.capture)
            e.recorded = c.mark(s);
    });
}

static void refuse_captured(const CUevent_st &e, const char *name)
{
    if (!e.capture)
        return;
    e.capture->invalid = true;
    refuse(CUDA_ERROR_CAPTURED_EVENT, "%s of an event that was last recorded in a capture", name);
}

CUresult cuEventQuery(CUevent event)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUevent_st &e = c.event(event);
        c.refuse_in_capture("cuEventQuery");
        refuse_captured(e, "cuEventQuery");
        poll(c, e.recorded);
    });
}

CUresult cuEventSynchronize(CUevent event)
{
    return with_context([&](CUctx_st &c, Lock &lock) {
        CUevent_st &e = c.event(event);
        c.refuse_in_capture("cuEventSynchronize");
        refuse_captured(e, "cuEventSynchronize");
        if (e.recorded)
            c.wait(lock, Signal(e.recorded));
    });
}

// Host time between the two records: shows that time passes, says nothing about a real device.
CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
    return with_context([&](CUctx_st &c, Lock &) {
        CUevent_st &a = c.event(start), &b = c.event(end);
        if (!a.timed || !b.timed || !a.recorded || !b.recorded)
            refuse(CUDA_ERROR_INVALID_HANDLE);
        if (!a.recorded->done || !b.recorded->done)
            refuse(CUDA_ERROR_NOT_READY);
        *milliseconds = static_cast<float>((b.recorded->at - a.recorded->at) * 1e3);
    });
}

// ---- for the stand-ins of libraries ---------------------------------------------------------
CUresult ptxvm_enqueue(CUstream stream, const char *what, const Work *work)
{
    return with_context([&](CUctx_st &c, Lock &) { c.push(c.stream(stream), what, *work); });
}

char *ptxvm_bytes(ptxvm::Device *device, const void *address, size_t size, bool write)
{
    return device->bytes(reinterpret_cast<uint64_t>(address), size, write);
}
