/* test_standin_cuda.c - the stand-in for libcuda: order of work, late copies, what is refused. */
#include "standin_test.h"

/* ---- order ------------------------------------------------------------------------------- */
Test(standin_cuda, work_of_a_stream_runs_in_order)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p = device_memory(4000);
    unsigned host[1000];
    CU(cuMemsetD32Async(p, 5, 1000, s));
    CU(add(s, p, 1000, 10));
    CU(add(s, p, 999, 100));
    CU(cuMemcpyDtoHAsync(host, p, sizeof host, s));
    CU(cuStreamSynchronize(s));
    cr_assert_eq(host[0], 115);
    cr_assert_eq(host[998], 115);
    cr_assert_eq(host[999], 15);
}

/* Adds in a second stream what the first one's fill must come before; 0: the result is right. */
static bool leave_out_the_wait;
static int two_streams(void)
{
    open_device();
    CUstream a = new_stream(), b = new_stream();
    CUevent e;
    CUdeviceptr p = device_memory(400);
    CU(cuMemsetD32(p, 0, 100));
    CU(cuCtxSynchronize());
    CU(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
    CU(cuMemsetD32Async(p, 3, 100, a));
    CU(cuEventRecord(e, a));
    CU(cuMemsetD8Async(p + 200, 9, 4, a)); /* later than the event: never waited for */
    if (!leave_out_the_wait)
        CU(cuStreamWaitEvent(b, e, 0));
    CU(add(b, p, 100, 4));
    CU(cuStreamSynchronize(b));
    CU(cuStreamSynchronize(a));
    return word_at(p) != 7;
}

Test(standin_cuda, events_order_streams)
{
    cr_assert_eq(count_seeds(8, two_streams, 0), 8);
}

Test(standin_cuda, a_missing_wait_shows_under_some_seed)
{
    leave_out_the_wait = true;
    int right = count_seeds(8, two_streams, 0);
    cr_assert(right > 0 && right < 8, "%d of 8 seeds gave the right result", right);
}

/* An event that is recorded again does not hold those who waited for its first record. */
Test(standin_cuda, a_wait_is_for_the_last_record_before_it)
{
    open_device();
    CUstream a = new_stream(), b = new_stream();
    CUevent e;
    CUdeviceptr p = device_memory(4);
    CU(cuEventCreate(&e, 0));
    CU(cuMemsetD32Async(p, 1, 1, a));
    CU(cuEventRecord(e, a));
    CU(cuStreamWaitEvent(b, e, 0));
    CU(cuStreamWaitEvent(a, e, 0));
    CU(cuEventRecord(e, b));
    CU(cuStreamWaitEvent(a, e, 0));
    CU(cuMemcpyDtoDAsync(p, p, 4, a));
    CU(cuCtxSynchronize());
    cr_assert_eq(word_at(p), 1);
}

static int legacy_stream(void)
{
    open_device();
    CUstream blocking;
    CUdeviceptr p = device_memory(4);
    CU(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    CU(cuMemsetD32Async(p, 1, 1, NULL));
    CU(add(blocking, p, 1, 10));
    CU(add(NULL, p, 1, 100));
    CU(add(blocking, p, 1, 1000));
    CU(cuStreamSynchronize(blocking));
    return word_at(p) != 1111;
}

Test(standin_cuda, the_legacy_stream_is_ordered_against_blocking_ones)
{
    cr_assert_eq(count_seeds(8, legacy_stream, 0), 8);
}

Test(standin_cuda, nothing_runs_before_something_asks)
{
    open_device();
    CUstream s = new_stream();
    CUevent e;
    int queries = 0;
    CU(cuEventCreate(&e, 0));
    cr_assert_eq(cuEventQuery(e), CUDA_SUCCESS); /* never recorded */
    CUdeviceptr p = device_memory(4);
    CU(cuMemsetD32Async(p, 1, 1, s));
    CU(add(s, p, 1, 1));
    CU(cuEventRecord(e, s));
    cr_assert_eq(cuStreamQuery(s), CUDA_ERROR_NOT_READY);
    while (cuEventQuery(e) == CUDA_ERROR_NOT_READY)
        cr_assert(++queries < 10);
    cr_assert_eq(cuStreamQuery(s), CUDA_SUCCESS);
    cr_assert_eq(word_at(p), 2);
}

Test(standin_cuda, elapsed_time_needs_two_finished_records)
{
    open_device();
    CUevent a, b;
    float ms = -1;
    CU(cuEventCreate(&a, 0));
    CU(cuEventCreate(&b, 0));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, a, b));
    CU(cuEventRecord(a, NULL));
    CU(cuEventRecord(b, NULL));
    REFUSED(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&ms, a, b));
    CU(cuEventSynchronize(b));
    CU(cuEventElapsedTime(&ms, a, b));
    cr_assert(ms >= 0);
}

static CUresult inner_code;
static void call_the_driver(void *p)
{
    inner_code = cuMemAlloc(p, 16);
}

Test(standin_cuda, a_host_function_may_not_call_the_driver)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p;
    CU(cuLaunchHostFunc(s, call_the_driver, &p));
    CU(cuStreamSynchronize(s));
    cr_assert_eq(inner_code, CUDA_ERROR_NOT_PERMITTED);
}

/* ---- copies ------------------------------------------------------------------------------ */
Test(standin_cuda, a_copy_reads_the_host_as_late_as_it_may)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p = device_memory(4);
    unsigned host = 1;
    CU(cuMemcpyHtoDAsync(p, &host, sizeof host, s));
    host = 2; /* what a program must not do: it is seen */
    CU(cuStreamSynchronize(s));
    cr_assert_eq(word_at(p), 2);
    host = 3;
    CU(cuMemcpyHtoD(p, &host, sizeof host));
    host = 4;
    cr_assert_eq(word_at(p), 3);
}

Test(standin_cuda, a_target_on_the_host_holds_nothing_until_the_wait)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p = device_memory(4);
    unsigned host = 1;
    CU(cuMemsetD32Async(p, 6, 1, s));
    CU(cuMemcpyDtoHAsync(&host, p, sizeof host, s));
    cr_assert_eq(host, 0xffffffff);
    CU(cuStreamSynchronize(s));
    cr_assert_eq(host, 6);
}

Test(standin_cuda, planes_keep_what_lies_between_their_rows)
{
    open_device();
    CUdeviceptr p = device_memory(4 * 16);
    unsigned char from[4][8], back[64];
    for (int i = 0; i < 32; i++)
        from[i / 8][i % 8] = (unsigned char)i;
    CU(cuMemsetD8(p, 200, sizeof back));
    CUDA_MEMCPY2D up = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = from,
                        .srcPitch = 8,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = p,
                        .dstPitch = 16,
                        .dstXInBytes = 3,
                        .dstY = 1,
                        .WidthInBytes = 5,
                        .Height = 3};
    CU(cuMemcpy2DAsync(&up, NULL));
    CU(cuMemcpyDtoH(back, p, sizeof back));
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 16; c++)
            cr_assert_eq(back[r * 16 + c], r >= 1 && c >= 3 && c < 8 ? (r - 1) * 8 + c - 3 : 200,
                         "%d %d", r, c);
    up.dstPitch = 4; /* rows that overlap */
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpy2DAsync(&up, NULL));
    up.dstPitch = 16;
    up.Height = 4; /* one row too many */
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpy2DAsync(&up, NULL));
}

Test(standin_cuda, copies_stay_in_their_allocation)
{
    open_device();
    CUdeviceptr p = device_memory(100), q = device_memory(100);
    char host[200] = {0};
    void *pinned;
    CU(cuMemHostAlloc(&pinned, 64, CU_MEMHOSTALLOC_PORTABLE));
    CU(cuMemcpyHtoDAsync(p, host, 100, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync(p, host, 101, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoHAsync(host, p + 1, 100, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoDAsync(q + 4, p, 100, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(q, 0, 101, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemsetD32Async(q + 2, 0, 1, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync(p, pinned, 65, NULL));
    CU(cuMemcpyHtoDAsync(p, pinned, 64, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE,
            cuMemcpyHtoDAsync((CUdeviceptr)(uintptr_t)host, host, 4, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync(p, (void *)(uintptr_t)q, 4, NULL));
    CU(cuMemFree(q));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(q, 0, 1, NULL));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFree(q));
    CU(cuMemFreeHost(pinned));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(pinned));
}

Test(standin_cuda, registered_memory_overlaps_no_other)
{
    static char room[1000];
    open_device();
    CU(cuMemHostRegister(room, 500, 0));
    REFUSED(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(room + 400, 500, 0));
    CU(cuMemHostRegister(room + 500, 500, 0));
    CU(cuMemHostUnregister(room));
    REFUSED(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(room));
}

Test(standin_cuda, memory_ends)
{
    (void)setenv("PTXVM_MEMORY", "10000000", 1);
    open_device();
    size_t available, total;
    CUdeviceptr p, q;
    CU(cuMemGetInfo(&available, &total));
    cr_assert_eq(total, 10000000);
    CU(cuMemAlloc(&p, 6000000));
    REFUSED(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&q, 6000000));
    CU(cuMemFree(p));
    CU(cuMemAlloc(&q, 6000000));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(&p, 0));
}

/* ---- launches
 * ------------------------------------------------------------------------------------- */
static CUresult launch(CUfunction f, const unsigned *grid, const unsigned *block, unsigned shared,
                       CUdeviceptr p, unsigned n)
{
    unsigned v = 1;
    void *parameters[] = {&p, &n, &v};
    return cuLaunchKernel(f, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, NULL,
                          parameters, NULL);
}

Test(standin_cuda, launches_keep_the_limits_of_a_device)
{
    open_device();
    static const unsigned one[] = {1, 1, 1};
    static const unsigned grids[][3] = {{0, 1, 1}, {1, 0, 1}, {1, 65536, 1}, {1, 1, 65536}};
    static const unsigned blocks[][3] = {{0, 1, 1}, {1025, 1, 1}, {32, 33, 1}, {1, 1, 65}};
    static const unsigned fits[][3] = {{1024, 1, 1}, {8, 4, 32}, {1, 1, 64}};
    CUdeviceptr p = device_memory(4);
    CU(cuMemsetD32(p, 0, 1));
    for (int i = 0; i < 4; i++) {
        REFUSED(CUDA_ERROR_INVALID_VALUE, launch(kernel("add"), grids[i], one, 0, p, 0));
        REFUSED(CUDA_ERROR_INVALID_VALUE, launch(kernel("add"), one, blocks[i], 0, p, 0));
    }
    for (int i = 0; i < 3; i++)
        CU(launch(kernel("add"), one, fits[i], 0, p, 0));
    CU(launch(kernel("bounded"), one, (unsigned[]){64, 1, 1}, 0, p, 0));
    REFUSED(CUDA_ERROR_INVALID_VALUE,
            launch(kernel("bounded"), one, (unsigned[]){65, 1, 1}, 0, p, 0));
    CU(cuCtxSynchronize());
}

static int shared_limit(int arch)
{
    char text[8];
    int limit;
    (void)snprintf(text, sizeof text, "%d", arch);
    (void)setenv("PTXVM_ARCH", text, 1);
    open_device();
    CU(cuDeviceGetAttribute(&limit, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
    return limit;
}

Test(standin_cuda, shared_memory_has_to_be_asked_for)
{
    static const unsigned one[] = {1, 1, 1};
    int most = shared_limit(80);
    cr_assert_eq(most, 163 << 10);
    CUdeviceptr p = device_memory(4);
    CUfunction f = kernel("dynamic"), big = kernel("big");
    const CUfunction_attribute dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    CU(launch(f, one, one, 48 << 10, p, 48 << 10));
    cr_assert_eq(word_at(p), 77);
    REFUSED(CUDA_ERROR_INVALID_VALUE, launch(f, one, one, (48 << 10) + 4, p, 64));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(f, dynamic, most + 1));
    CU(cuFuncSetAttribute(f, dynamic, most));
    CU(cuMemsetD32(p, 0, 1));
    CU(launch(f, one, one, (unsigned)most, p, (unsigned)most));
    cr_assert_eq(word_at(p), 77);
    /* static memory counts: 40 KiB of 48 are taken */
    CU(launch(big, one, one, 8 << 10, p, 0));
    REFUSED(CUDA_ERROR_INVALID_VALUE, launch(big, one, one, (8 << 10) + 4, p, 0));
    REFUSED(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(big, dynamic, most - (40 << 10) + 1));
    CU(cuFuncSetAttribute(big, dynamic, most - (40 << 10)));
    CU(cuCtxSynchronize());
}

Test(standin_cuda, other_devices_have_other_limits)
{
    cr_assert_eq(shared_limit(90), 227 << 10);
}

Test(standin_cuda, a_smaller_device_can_be_asked_for)
{
    (void)setenv("PTXVM_SMEM", "101376", 1); /* 99 KiB, as on sm_89 */
    cr_assert_eq(shared_limit(80), 101376);
    REFUSED(CUDA_ERROR_INVALID_VALUE,
            cuFuncSetAttribute(kernel("dynamic"), CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                               101377));
}

Test(standin_cuda, parameters_are_copied_by_the_launch)
{
    open_device();
    CUstream s = new_stream();
    CUdeviceptr p = device_memory(8), address = p;
    unsigned n = 1, v = 5;
    void *parameters[] = {&address, &n, &v};
    CU(cuMemsetD32Async(p, 0, 2, s));
    CU(cuLaunchKernel(kernel("add"), 1, 1, 1, 32, 1, 1, 0, s, parameters, NULL));
    address = 0;
    n = 2;
    v = 9;
    CU(cuStreamSynchronize(s));
    cr_assert_eq(word_at(p), 5);
    cr_assert_eq(word_at(p + 4), 0);
}

Test(standin_cuda, kernels_tell_what_they_need)
{
    open_device();
    CUfunction f = kernel("big"), bounded = kernel("bounded");
    CUdeviceptr p = device_memory(4);
    int value, blocks;
    CU(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
    cr_assert_eq(value, 40 << 10);
    CU(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, bounded));
    cr_assert_eq(value, 64);
    REFUSED(CUDA_ERROR_NOT_SUPPORTED, /* PTX does not say */
            cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
    /* 164 KiB of shared memory hold 4 blocks of 40 + 1; 64 warps 8 blocks of 256 threads */
    CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 32, 0));
    cr_assert_eq(blocks, 4);
    CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel("add"), 256, 0));
    cr_assert_eq(blocks, 8);
    CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, bounded, 65, 0));
    cr_assert_eq(blocks, 0);
    CUlaunchConfig config = {.gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1};
    void *parameters[] = {&p};
    CU(cuLaunchKernelEx(&config, f, parameters, NULL));
    CU(cuCtxSynchronize());
}

Test(standin_cuda, a_fault_breaks_the_context)
{
    open_device();
    CUstream s = new_stream();
    CUfunction f = kernel("add");
    CUdeviceptr p = device_memory(400), q;
    CU(cuMemsetD32Async(p, 0, 100, s));
    CU(add(s, p, 101, 1)); /* one word behind the end */
    CU(add(s, p, 100, 1)); /* never runs */
    CUresult first = cuStreamSynchronize(s);
    cr_assert_eq(first, CUDA_ERROR_ILLEGAL_ADDRESS, "%s", code_name(first));
    REFUSED(first, cuMemAlloc(&q, 4));
    REFUSED(first, cuStreamSynchronize(s));
    REFUSED(first, launch(f, (unsigned[]){1, 1, 1}, (unsigned[]){1, 1, 1}, 0, p, 1));
}

Test(standin_cuda, what_was_never_written_is_not_copied)
{
    open_device();
    CUdeviceptr p = device_memory(8);
    unsigned host[2];
    CU(cuMemsetD32(p, 0, 1));
    cr_assert_neq(cuMemcpyDtoH(host, p, sizeof host), CUDA_SUCCESS);
}

/* ---- handles, devices, names
 * ------------------------------------------------------------------------ */
Test(standin_cuda, stale_handles_are_recognised)
{
    open_device();
    CUstream s = new_stream();
    CUevent e;
    CUfunction f = kernel("add");
    CUdeviceptr p = device_memory(4);
    CU(cuEventCreate(&e, 0));
    CU(cuEventDestroy(e));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(e, s));
    CU(cuStreamDestroy(s));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuMemsetD8Async(p, 0, 4, s));
    REFUSED(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&f, the_module, "no_such_kernel"));
    f = kernel("add");
    CU(cuModuleUnload(the_module));
    REFUSED(CUDA_ERROR_INVALID_HANDLE,
            launch(f, (unsigned[]){1, 1, 1}, (unsigned[]){1, 1, 1}, 0, p, 0));
}

Test(standin_cuda, devices_have_contexts_of_their_own)
{
    (void)setenv("PTXVM_DEVICES", "2", 1);
    open_device();
    CUcontext other;
    CUdevice device;
    CUstream s = new_stream();
    int count;
    CU(cuDeviceGetCount(&count));
    cr_assert_eq(count, 2);
    REFUSED(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&device, 2));
    CU(cuDevicePrimaryCtxRetain(&other, 1));
    CU(cuCtxSetCurrent(other));
    REFUSED(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(s));
    CU(cuCtxGetDevice(&device));
    cr_assert_eq(device, 1);
    CU(cuDevicePrimaryCtxRelease(1));
    REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize());
}

static int init_code(void)
{
    return (int)cuInit(0);
}

static int device_count(void)
{
    int count = 0;
    (void)setenv("PTXVM_DEVICES", "4", 1);
    return cuInit(0) == CUDA_SUCCESS && cuDeviceGetCount(&count) == CUDA_SUCCESS ? count : 0;
}

Test(standin_cuda, devices_can_be_hidden)
{
    cr_assert_eq(in_process("CUDA_VISIBLE_DEVICES", "", device_count), 0);
    cr_assert_eq(in_process("CUDA_VISIBLE_DEVICES", "3,1", device_count), 2);
    cr_assert_eq(in_process("CUDA_VISIBLE_DEVICES", "0,7,1", device_count), 1);
    cr_assert_eq(in_process("CUDA_VISIBLE_DEVICES", "-1", device_count), 0);
}

Test(standin_cuda, nonsense_in_the_environment_is_refused)
{
    cr_assert_eq(in_process("PTXVM_ARCH", "85", init_code), CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(in_process("PTXVM_DEVICES", "two", init_code), CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(in_process("PTXVM_DEVICES", "0", init_code), CUDA_ERROR_NO_DEVICE);
    cr_assert_eq(in_process("PTXVM_SMEM", "1000000", init_code), CUDA_ERROR_INVALID_VALUE);
}

Test(standin_cuda, entry_points_are_found_by_name)
{
    open_device();
    CUresult (*alloc)(CUdeviceptr *, size_t);
    CUresult (*unknown)(void);
    CUdriverProcAddressQueryResult found;
    CUdeviceptr p;
    CU(cuGetProcAddress("cuMemAlloc", (void **)&alloc, CUDA_VERSION, 0, &found));
    cr_assert_eq(found, CU_GET_PROC_ADDRESS_SUCCESS);
    CU(alloc(&p, 16));
    CU(cuGetProcAddress("cuTexRefCreate", (void **)&unknown, CUDA_VERSION, 0, &found));
    cr_assert_eq(found, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    cr_assert_eq(unknown(), CUDA_ERROR_NOT_SUPPORTED);
}

/* ---- images
 * -------------------------------------------------------------------------------------------- */
typedef struct {
    unsigned short kind, version;
    unsigned header;
    unsigned long long bytes;
    unsigned packed, options;
    unsigned short minor, major;
    unsigned arch, name, name_bytes;
    unsigned long long flags, zero, unpacked;
} entry;

/* A fatbin of `texts`, each for an architecture; what is there in place of entry `packed` says that
 * it is compressed. */
static void *fatbin(const unsigned *archs, const char *const *texts, int count, int packed)
{
    static char image[65536];
    size_t at = 16;
    for (int i = 0; i < count; i++) {
        size_t bytes = (strlen(texts[i]) + 8) / 8 * 8;
        entry e = {.kind = 1, .version = 0x101, .header = sizeof e, .bytes = bytes};
        e.arch = archs[i];
        e.unpacked = i == packed ? 10000 : 0;
        memcpy(image + at, &e, sizeof e);
        memset(image + at + sizeof e, 0, bytes);
        memcpy(image + at + sizeof e, texts[i], strlen(texts[i]));
        at += sizeof e + bytes;
    }
    const struct {
        unsigned magic;
        unsigned short version, header;
        unsigned long long bytes;
    } head = {0xba55ed50, 1, 16, at - 16};
    memcpy(image, &head, sizeof head);
    return image;
}

static bool has_kernel(CUmodule m, const char *name)
{
    CUfunction f;
    return cuModuleGetFunction(&f, m, name) == CUDA_SUCCESS;
}

static const unsigned archs[] = {90, 80, 100};
static const char *const texts[] = {PTX_TEXT(90), PTX_TEXT(80), PTX_TEXT(100)};

static int loads_its_own(void)
{
    CUmodule m;
    open_device();
    if (cuModuleLoadData(&m, fatbin(archs, texts, 3, -1)) != CUDA_SUCCESS)
        return 3;
    return has_kernel(m, "only_90") ? 90 : has_kernel(m, "only_80") ? 80 : 1;
}

Test(standin_cuda, the_best_ptx_of_a_fatbin_is_taken)
{
    cr_assert_eq(in_process("PTXVM_ARCH", "80", loads_its_own), 80);
    cr_assert_eq(in_process("PTXVM_ARCH", "90", loads_its_own), 90);
}

Test(standin_cuda, images_without_usable_ptx_are_refused)
{
    open_device();
    CUmodule m;
    REFUSED(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, fatbin(archs, texts, 1, -1)));
    REFUSED(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, fatbin(archs, texts, 2, 1)));
    REFUSED(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, "\177ELF..."));
    REFUSED(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, "no image at all"));
}
