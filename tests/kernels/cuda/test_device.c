/* test_device.c - opening devices, what they are, what is missing. */
#include "support/device_case.h"

#include "cuda/cuda.h"

Test(device, open_and_close)
{
    gf_backend be;
    for (int i = 0; i < 3; i++) {
        device_open(&be);
        const gf_device *d = gf_backend_device(&be);
        cr_assert_geq(d->major, 8);
        cr_assert_gt(d->multiprocessors, 0);
        cr_assert_gt(d->memory, 0);
        cr_assert(d->free_ > 0 && d->free_ <= d->memory);
        cr_assert_not_null(gf_backend_stream(&be));
        cr_assert_str_eq(be.ops->name, "cuda");
        device_close(&be);
        cr_assert_null(be.cuda);
    }
}

Test(device, two_at_once)
{
    gf_backend a, b;
    device_open(&a);
    device_open(&b);
    cr_assert_neq(gf_backend_stream(&a), gf_backend_stream(&b));
    device_close(&a);
    DEVICE_OK(&b, gf_wait(&b));
    device_close(&b);
}

Test(device, no_such)
{
    gf_backend be;
    gf_err err = {0};
    device_open(&be);
    device_close(&be);
    cr_assert_eq(gf_backend_open_cuda(&be, 4096, &err), GF_EMISSING);
    cr_assert(strstr(err.text, "there is no CUDA device 4096: this machine has "), "%s", err.text);
    cr_assert_null(be.cuda);
}

Test(device, look_agrees_with_open)
{
    gf_backend be;
    gf_cuda_machine m;
    gf_device d;
    gf_err err = {0};
    device_open(&be);
    gf_cuda_look(&m);
    cr_assert_geq(m.devices, 1);
    cr_assert_str_empty(m.why);
    cr_assert_geq(m.driver, 12000);
    cr_assert_eq(gf_cuda_device(&d, 0, &err), GF_OK, "%s", err.text);
    cr_assert_str_eq(d.name, gf_backend_device(&be)->name);
    cr_assert_eq(d.memory, gf_backend_device(&be)->memory);
    cr_assert_eq(gf_cuda_device(&d, m.devices, &err), GF_EMISSING);
    DEVICE_OK(&be, gf_wait(&be)); /* its context is still this thread's */
    void *memory;
    cr_assert_eq(gf_backend_alloc(&be, &memory, 8, &err), GF_OK, "%s", err.text);
    gf_backend_free(&be, memory);
    device_close(&be);
}

/* What a backend says is free is what is left beside its own memory: plans add that. */
Test(device, free_is_what_is_left)
{
    gf_backend be;
    gf_device before;
    gf_err err = {0};
    device_open(&be); /* or skips */
    device_close(&be);
    cr_assert_eq(gf_cuda_device(&before, 0, &err), GF_OK, "%s", err.text);
    device_open(&be);
    cr_assert_leq(gf_backend_device(&be)->free_ + gf_backend_scratch(&be), before.free_);
    device_close(&be);
}

/* Whatever this machine has, the answer is one of the two. */
Test(device, look_says_why)
{
    gf_cuda_machine m;
    gf_cuda_look(&m);
    cr_assert_eq(m.devices == 0, m.why[0] != '\0', "%d devices, \"%s\"", m.devices, m.why);
}

Test(device, dry)
{
    gf_backend be;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_backend_device(&be)->memory, 0);
    cr_assert_str_empty(gf_backend_note(&be));
    gf_backend_close(&be);
    cr_assert_null(be.cuda);
}
