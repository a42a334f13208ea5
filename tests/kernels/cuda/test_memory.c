/* test_memory.c - uploads, downloads and clearing: strides, pieces, order, and host memory that is
 * used again at once. */
#include "support/device_case.h"

#include "cuda/cuda.h"

#define STAGING ((int64_t)8 << 20) /* bytes of a pinned buffer */

/* Bytes in, bytes out, through a tensor with `gap` elements between rows. */
static void round_trip(gf_backend *be, gf_dtype type, int64_t rows, int64_t width, int64_t gap)
{
    op_tensor x = op_make(type, "x", rows, width, 0, gap);
    device_tensor d = device_put(be, &x); /* guards everywhere */
    const size_t bytes = (size_t)gf_row_bytes(type, width) * (size_t)rows;
    unsigned char *in = malloc(bytes), *out = calloc(bytes, 1);
    cr_assert(in && out);
    for (size_t i = 0; i < bytes; i++)
        in[i] = (unsigned char)(i * 31 + i / 251);
    DEVICE_OK(be, gf_upload(be, d.t, in));
    for (size_t i = 0; i < bytes; i++) /* the caller's again */
        in[i] = (unsigned char)~in[i];
    DEVICE_OK(be, gf_download(be, out, d.t));
    DEVICE_OK(be, gf_wait(be));
    for (size_t i = 0; i < bytes; i++)
        if (out[i] != (unsigned char)(i * 31 + i / 251))
            cr_assert_fail("byte %zu of [%lld,%lld]+%lld is %u", i, (long long)rows,
                           (long long)width, (long long)gap, out[i]);
    device_get(be, &d, &x);
    device_free(be, &d);
    op_free(&x);
    free(in);
    free(out);
}

Test(memory, round_trips)
{
    gf_backend be;
    device_open(&be);
    round_trip(&be, GF_F32, 1, 1, 0);
    round_trip(&be, GF_BF16, 7, 5, 3);
    round_trip(&be, GF_F32, 33, 64, 64);
    round_trip(&be, GF_Q8_0, 3, 64, 32);
    round_trip(&be, GF_U8, 1, STAGING + 1, 0);     /* more than a buffer */
    round_trip(&be, GF_U8, 3, STAGING / 2 + 5, 8); /* a row a piece */
    round_trip(&be, GF_U8, 2, STAGING + 5, 8);     /* rows longer than a buffer */
    device_close(&be);
}

/* Every buffer is filled and used again several times: an early reuse would change what arrives. */
Test(memory, buffers_in_turn)
{
    enum { COUNT = 12, LONG = 3 << 20 };
    gf_backend be;
    device_open(&be);
    device_tensor d[COUNT];
    unsigned char *host = malloc(LONG), *back = malloc(LONG);
    for (int i = 0; i < COUNT; i++) {
        gf_err err = {0};
        d[i] = (device_tensor){.bytes = LONG};
        cr_assert_eq(gf_backend_alloc(&be, &d[i].memory, LONG, &err), GF_OK, "%s", err.text);
        memset(host, i + 1, LONG);
        DEVICE_OK(&be, gf_upload(&be, device_whole(&d[i]), host));
    }
    for (int i = 0; i < COUNT; i++) {
        DEVICE_OK(&be, gf_download(&be, back, device_whole(&d[i])));
        DEVICE_OK(&be, gf_wait(&be));
        memset(host, i + 1, LONG);
        cr_assert(memcmp(host, back, LONG) == 0, "upload %d", i);
        device_free(&be, &d[i]);
    }
    free(host);
    free(back);
    device_close(&be);
}

/* Downloads are there after the wait, however many: they take several buffers here. */
Test(memory, downloads_gather)
{
    enum { COUNT = 5, LONG = 3 << 20 };
    gf_backend be;
    device_open(&be);
    gf_err err = {0};
    device_tensor d = {.bytes = LONG};
    cr_assert_eq(gf_backend_alloc(&be, &d.memory, LONG, &err), GF_OK, "%s", err.text);
    unsigned char *host = malloc(LONG), *back[COUNT];
    for (int i = 0; i < COUNT; i++) { /* in stream order: each sees the upload before it */
        back[i] = malloc(LONG);
        memset(host, i + 1, LONG);
        DEVICE_OK(&be, gf_upload(&be, device_whole(&d), host));
        DEVICE_OK(&be, gf_cuda_fetch(&be, back[i], d.memory, LONG));
    }
    DEVICE_OK(&be, gf_wait(&be));
    for (int i = 0; i < COUNT; i++) {
        memset(host, i + 1, LONG);
        cr_assert(memcmp(host, back[i], LONG) == 0, "download %d", i);
        free(back[i]);
    }
    device_free(&be, &d);
    free(host);
    device_close(&be);
}

Test(memory, zeroed_and_cleared)
{
    enum { LONG = 5000 };
    gf_backend be;
    device_open(&be);
    gf_err err = {0};
    device_tensor d = {.bytes = LONG};
    unsigned char back[LONG], want[LONG] = {0};
    cr_assert_eq(gf_backend_alloc(&be, &d.memory, LONG, &err), GF_OK, "%s", err.text);
    DEVICE_OK(&be, gf_download(&be, back, device_whole(&d)));
    DEVICE_OK(&be, gf_wait(&be));
    cr_assert(memcmp(back, want, LONG) == 0);
    memset(want, 7, LONG);
    DEVICE_OK(&be, gf_upload(&be, device_whole(&d), want));
    const int64_t before = be.tally.launches;
    DEVICE_OK(&be, gf_cuda_clear(&be, (char *)d.memory + 3, 4000));
    DEVICE_OK(&be, gf_cuda_clear(&be, d.memory, 0));
    cr_assert_eq(be.tally.launches - before, 1);
    memset(want + 3, 0, 4000);
    DEVICE_OK(&be, gf_download(&be, back, device_whole(&d)));
    DEVICE_OK(&be, gf_wait(&be));
    cr_assert(memcmp(back, want, LONG) == 0);
    device_free(&be, &d);
    device_close(&be);
}

Test(memory, out_of_memory_is_told_with_sizes)
{
    gf_backend be;
    device_open(&be);
    gf_err err = {0};
    void *memory = &err;
    cr_assert_eq(gf_backend_alloc(&be, &memory, (size_t)1 << 46, &err), GF_ENOMEM);
    cr_assert_null(memory);
    cr_assert(strstr(err.text, "67108864.0 MiB"), "%s", err.text);
    cr_assert(strstr(err.text, " MiB free"), "%s", err.text);
    round_trip(&be, GF_F32, 4, 4, 0); /* and the device goes on */
    device_close(&be);
}

/* What a plan may count on: the same for a device that is not there. */
Test(memory, own_bytes)
{
    gf_backend be, dry;
    device_open(&be);
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(&dry, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    cr_assert_geq(gf_backend_scratch(&be), GF_CUDA_SCRATCH);
    cr_assert_geq(gf_backend_scratch(&dry), gf_backend_scratch(&be));
    cr_assert_eq(gf_cuda_host_bytes(&be), gf_cuda_host_bytes(&dry));
    gf_backend_close(&dry);
    device_close(&be);
}
