/* test_launch.c - kernels are found, launched, counted, and named when they fail. */
#include "support/device_case.h"

#include "cuda/cuda.h"

#define PITCH 64
#define ROWS 8

/* kernels/rows.cu: zeroes `bytes` of each row. */
static gf_status zero_rows(gf_backend *be, void *x, int64_t rows, size_t shared)
{
    int64_t pitch = PITCH, bytes = 40;
    int wide = 0;
    return GF_LAUNCH(be, "rows", "zero_rows", ((gf_dim){(unsigned)(rows + 3) / 4, 1, 1}),
                     ((gf_dim){32, 4, 1}), shared, &x, &pitch, &bytes, &rows, &wide);
}

static device_tensor ones(gf_backend *be)
{
    gf_err err = {0};
    unsigned char host[PITCH * ROWS];
    device_tensor d = {.bytes = sizeof host};
    memset(host, 1, sizeof host);
    cr_assert_eq(gf_backend_alloc(be, &d.memory, d.bytes, &err), GF_OK, "%s", err.text);
    DEVICE_OK(be, gf_upload(be, device_whole(&d), host));
    return d;
}

static void expect_zeros(gf_backend *be, const device_tensor *d)
{
    unsigned char back[PITCH * ROWS];
    DEVICE_OK(be, gf_download(be, back, device_whole(d)));
    DEVICE_OK(be, gf_wait(be));
    for (int i = 0; i < PITCH * ROWS; i++)
        cr_assert_eq(back[i], i % PITCH >= 40, "byte %d", i);
}

Test(launch, runs_and_counts)
{
    gf_backend be;
    device_open(&be);
    device_tensor d = ones(&be);
    DEVICE_OK(&be, zero_rows(&be, d.memory, ROWS, 0));
    expect_zeros(&be, &d);
    DEVICE_OK(&be, zero_rows(&be, d.memory, ROWS, 0));
    cr_assert_eq(be.tally.launches, 2);
    DEVICE_OK(&be, zero_rows(&be, d.memory, 0, 0)); /* an empty grid */
    cr_assert_eq(be.tally.launches, 2);
    device_free(&be, &d);
    device_close(&be);
}

/* More than 48 KiB must be asked for; more than there is fails and says whose launch it was. */
Test(launch, shared_memory)
{
    gf_backend be;
    device_open(&be);
    device_tensor d = ones(&be);
    const size_t limit = (size_t)gf_cuda_shared_limit(&be);
    cr_assert_geq(limit, 99 << 10); /* the least of any device from 8.0 on */
    cr_assert_geq(gf_cuda_multiprocessors(&be), 1);
    DEVICE_OK(&be, zero_rows(&be, d.memory, ROWS, limit));
    expect_zeros(&be, &d);
    cr_assert_eq(zero_rows(&be, d.memory, ROWS, limit + 1024), GF_EDEVICE);
    cr_assert(strstr(be.err.text, "zero_rows"), "%s", be.err.text);
    gf_backend_close(&be);
}

Test(launch, missing)
{
    gf_backend be;
    device_open(&be);
    const gf_dim one = {1, 1, 1};
    cr_assert_eq(gf_cuda_launch(&be, "nowhere", "k", one, one, 0, NULL), GF_EDEVICE);
    cr_assert_str_eq(be.err.text, "this build has no CUDA module \"nowhere\"");
    be.err = (gf_err){0};
    cr_assert_eq(gf_cuda_launch(&be, "rows", "no_such_kernel", one, one, 0, NULL), GF_EDEVICE);
    cr_assert(strstr(be.err.text, "no_such_kernel: cuModuleGetFunction"), "%s", be.err.text);
    gf_backend_close(&be);
}

/* A kernel that writes to address 64 */
static void fault(gf_backend *be)
{
    cr_assert_eq(zero_rows(be, (void *)64, ROWS, 0), GF_OK, "%s", be->err.text);
}

Test(launch, later_faults_name_what_ran)
{
    gf_backend be;
    (void)unsetenv("GRAFT_CUDA_SYNC");
    device_open(&be);
    device_tensor d = ones(&be);
    fault(&be);
    cr_assert_eq(gf_wait(&be), GF_EDEVICE);
    cr_assert(strstr(be.err.text, "launched since the last wait: zero_rows (GRAFT_CUDA_SYNC=1"),
              "%s", be.err.text);
    /* and everything after it answers with the first */
    gf_err first = be.err;
    char byte;
    gf_tensor x = gf_view(d.memory, GF_U8, "x", 1, 0, 0);
    const gf_status st[] = {(be.err = (gf_err){0}, gf_wait(&be)), gf_upload(&be, x, &byte),
                            gf_download(&be, &byte, x), zero_rows(&be, d.memory, 1, 0),
                            gf_capture(&be, 1)};
    for (size_t i = 0; i < sizeof st / sizeof *st; i++)
        cr_assert_eq(st[i], GF_EDEVICE, "call %zu", i);
    cr_assert_str_eq(be.err.text, first.text);
    gf_backend_close(&be);
}

Test(launch, sync_names_the_one)
{
    gf_backend be;
    (void)setenv("GRAFT_CUDA_SYNC", "1", 1);
    device_open(&be);
    device_tensor d = ones(&be);
    DEVICE_OK(&be, zero_rows(&be, d.memory, ROWS, 0));
    cr_assert_eq(zero_rows(&be, (void *)64, ROWS, 0), GF_EDEVICE);
    cr_assert(strstr(be.err.text, "): zero_rows: cuLaunchKernel: CUDA_ERROR_"), "%s", be.err.text);
    gf_backend_close(&be);
}

/* A fault in a replayed pass is told like any other. */
Test(launch, faults_of_replays)
{
    gf_backend be;
    (void)unsetenv("GRAFT_CUDA_SYNC");
    device_open(&be);
    DEVICE_OK(&be, gf_capture(&be, 5));
    fault(&be);
    (void)gf_capture_end(&be, false);
    cr_assert_eq(gf_wait(&be), GF_EDEVICE);
    cr_assert(strstr(be.err.text, "launched since the last wait: zero_rows"), "%s", be.err.text);
    gf_backend_close(&be);
}

/* A dry device counts what would be launched and touches nothing. */
Test(launch, dry)
{
    gf_backend be;
    gf_err err = {0};
    cr_assert_eq(gf_backend_open_cuda(&be, GF_DEVICE_DRY, &err), GF_OK, "%s", err.text);
    cr_assert_str_eq(be.ops->name, "cuda");
    cr_assert(be.dry);
    DEVICE_OK(&be, zero_rows(&be, NULL, ROWS, 0));
    DEVICE_OK(&be, gf_wait(&be));
    cr_assert_eq(be.tally.launches, 1);
    cr_assert_eq(gf_cuda_shared_limit(&be), 232448);
    cr_assert_null(gf_backend_stream(&be));
    void *memory;
    cr_assert_eq(gf_backend_alloc(&be, &memory, 8, &err), GF_EDEVICE);
    be.dry = false;
    cr_assert_eq(zero_rows(&be, NULL, ROWS, 0), GF_EDEVICE);
    cr_assert(strstr(be.err.text, "runs dry only"), "%s", be.err.text);
    gf_backend_close(&be);
}
