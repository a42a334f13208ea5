/* standin_test.h - what the tests of the stand-in libraries share: a context, a few kernels written
 * as PTX, and processes of their own for runs under several seeds. */
#ifndef GRAFT_PTXVM_STANDIN_TEST_H
#define GRAFT_PTXVM_STANDIN_TEST_H

#include <criterion/criterion.h>
#include <cuda.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CU(call)                                                                                   \
    do {                                                                                           \
        CUresult code_ = (call);                                                                   \
        cr_assert_eq(code_, CUDA_SUCCESS, "%s: %s", #call, code_name(code_));                      \
    } while (0)
#define REFUSED(code, call)                                                                        \
    do {                                                                                           \
        CUresult code_ = (call);                                                                   \
        cr_assert_eq(code_, code, "%s: %s instead of %s", #call, code_name(code_), #code);         \
    } while (0)

static inline const char *code_name(CUresult code)
{
    const char *name = NULL;
    return cuGetErrorName(code, &name) == CUDA_SUCCESS ? name : "?";
}

/* add: p[i] += v for i < n.  bounded: the same, for at most 64 threads a block.  big: has 40 KiB of
 * static shared memory.  dynamic: writes and reads the last word of n bytes of dynamic shared
 * memory, and stores what it read into p[0]. */
#define ADD_BODY                                                                                   \
    "{\n"                                                                                          \
    " .reg .pred %p<2>;\n .reg .b32 %r<9>;\n .reg .b64 %rd<5>;\n"                                  \
    " ld.param.u64 %rd1, [p];\n ld.param.u32 %r1, [n];\n ld.param.u32 %r2, [v];\n"                 \
    " mov.u32 %r3, %ctaid.x;\n mov.u32 %r4, %ntid.x;\n mov.u32 %r5, %tid.x;\n"                     \
    " mad.lo.s32 %r6, %r3, %r4, %r5;\n setp.ge.u32 %p1, %r6, %r1;\n @%p1 bra DONE;\n"              \
    " cvta.to.global.u64 %rd2, %rd1;\n mul.wide.u32 %rd3, %r6, 4;\n add.s64 %rd4, %rd2, %rd3;\n"   \
    " ld.global.u32 %r7, [%rd4];\n add.s32 %r8, %r7, %r2;\n st.global.u32 [%rd4], %r8;\n"          \
    "DONE:\n ret;\n}\n"
#define PTX_TEXT(arch)                                                                             \
    ".version 7.8\n.target sm_" #arch "\n.address_size 64\n"                                       \
    ".extern .shared .align 16 .b8 room[];\n"                                                      \
    ".visible .entry add(.param .u64 p, .param .u32 n, .param .u32 v)\n" ADD_BODY                  \
    ".visible .entry only_" #arch "(.param .u64 p, .param .u32 n, .param .u32 v)\n" ADD_BODY       \
    ".visible .entry bounded(.param .u64 p, .param .u32 n, .param .u32 v)\n.maxntid 64, 1, "       \
    "1\n" ADD_BODY ".visible .entry big(.param .u64 p)\n{\n"                                       \
    " .reg .b32 %r<2>;\n .shared .align 16 .b8 fixed[40960];\n"                                    \
    " mov.u32 %r1, 7;\n st.shared.u32 [fixed], %r1;\n ret;\n}\n"                                   \
    ".visible .entry dynamic(.param .u64 p, .param .u32 n)\n{\n"                                   \
    " .reg .b32 %r<6>;\n .reg .b64 %rd<3>;\n"                                                      \
    " ld.param.u64 %rd1, [p];\n ld.param.u32 %r1, [n];\n cvta.to.global.u64 %rd2, %rd1;\n"         \
    " mov.u32 %r2, room;\n add.s32 %r3, %r2, %r1;\n mov.u32 %r4, 77;\n"                            \
    " st.shared.u32 [%r3+-4], %r4;\n ld.shared.u32 %r5, [%r3+-4];\n"                               \
    " st.global.u32 [%rd2], %r5;\n ret;\n}\n"

static CUcontext the_context;
static CUmodule the_module;

static inline void open_device(void)
{
    CUdevice device;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuDevicePrimaryCtxRetain(&the_context, device));
    CU(cuCtxSetCurrent(the_context));
    CU(cuModuleLoadData(&the_module, PTX_TEXT(80)));
}

static inline CUfunction kernel(const char *name)
{
    CUfunction f;
    CU(cuModuleGetFunction(&f, the_module, name));
    return f;
}

static inline CUdeviceptr device_memory(size_t bytes)
{
    CUdeviceptr p;
    CU(cuMemAlloc(&p, bytes));
    return p;
}

static inline CUstream new_stream(void)
{
    CUstream s;
    CU(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    return s;
}

/* p[0..n) += v */
static inline CUresult add(CUstream s, CUdeviceptr p, unsigned n, unsigned v)
{
    void *parameters[] = {&p, &n, &v};
    return cuLaunchKernel(kernel("add"), (n + 127) / 128, 1, 1, 128, 1, 1, 0, s, parameters, NULL);
}

static inline unsigned word_at(CUdeviceptr p)
{
    unsigned value = 0;
    CU(cuMemcpyDtoH(&value, p, sizeof value));
    return value;
}

/* Runs f in a process of its own with a variable of the environment set; its exit status. A failed
 * assertion in there would not count: f returns what it found. */
static inline int in_process(const char *variable, const char *value, int (*f)(void))
{
    int status;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)setenv(variable, value, 1);
        _exit(f());
    }
    cr_assert(child > 0 && waitpid(child, &status, 0) == child);
    cr_assert(WIFEXITED(status), "the process was killed");
    return WEXITSTATUS(status);
}

/* The same for seeds 1..n: how many of them returned `wanted`. */
static inline int count_seeds(int n, int (*f)(void), int wanted)
{
    int count = 0;
    for (int seed = 1; seed <= n; seed++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", seed);
        count += in_process("PTXVM_SEED", text, f) == wanted;
    }
    return count;
}

#endif
