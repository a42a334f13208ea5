/* timer.c - times by events: the device notes its own clock when the stream comes by. */
#include "measure.h"

#include "device.h"

gf_status gf_cuda_timer_start(gf_backend *be, gf_timer *t)
{
    TRY(gf_cuda_ready_outside(be, "a timer"));
    for (int i = 0; i < 2; i++) {
        CUevent event = t->event[i];
        if (!event)
            CALL(be, event_create, &event, CU_EVENT_DEFAULT);
        t->event[i] = event;
    }
    CALL(be, event_record, t->event[0], be->cuda->stream);
    return GF_OK;
}

gf_status gf_cuda_timer_stop(gf_backend *be, gf_timer *t, double *seconds)
{
    float milliseconds = 0;
    TRY(gf_cuda_ready_outside(be, "a timer"));
    CALL(be, event_record, t->event[1], be->cuda->stream);
    TRY(gf_cuda_wait(be));
    CALL(be, event_elapsed, &milliseconds, t->event[0], t->event[1]);
    *seconds = 1e-3 * (double)milliseconds;
    return GF_OK;
}

void gf_cuda_timer_close(gf_backend *be, gf_timer *t)
{
    for (int i = 0; i < 2; i++)
        if (t->event[i] && !be->cuda->absent)
            (void)be->cuda->call.event_destroy(t->event[i]);
    *t = (gf_timer){0};
}
