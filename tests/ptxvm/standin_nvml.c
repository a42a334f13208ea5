/* standin_nvml.c - the stand-in for libnvidia-ml.so.1: a GPU that is busy in always the same way.
 * The calls and their results' layouts are NVML's; what is not asked for by graft is not here. */
#include <stdio.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_FOUND = 6 };

typedef struct {
    int started;
} device;

typedef struct {
    unsigned gpu, memory;
} utilization;

typedef struct {
    unsigned long long total, free, used;
} memory;

static device only;

#define CALL __attribute__((visibility("default")))

/* What is there is told only between a start and the end, about a device that was found. */
#define ANSWER(d, to, value)                                                                       \
    do {                                                                                           \
        if (!only.started)                                                                         \
            return UNINITIALIZED;                                                                  \
        if ((d) != &only || !(to))                                                                 \
            return INVALID_ARGUMENT;                                                               \
        *(to) = (value);                                                                           \
        return SUCCESS;                                                                            \
    } while (0)

CALL int nvmlInit_v2(void);
CALL int nvmlShutdown(void);
CALL int nvmlSystemGetNVMLVersion(char *version, unsigned length);
CALL int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, device **out);
CALL int nvmlDeviceGetClockInfo(device *d, int type, unsigned *mhz);
CALL int nvmlDeviceGetMaxClockInfo(device *d, int type, unsigned *mhz);
CALL int nvmlDeviceGetPowerUsage(device *d, unsigned *milliwatts);
CALL int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *milliwatts);
CALL int nvmlDeviceGetTemperature(device *d, int sensor, unsigned *celsius);
CALL int nvmlDeviceGetCurrentClocksThrottleReasons(device *d, unsigned long long *mask);
CALL int nvmlDeviceGetUtilizationRates(device *d, utilization *out);
CALL int nvmlDeviceGetMemoryInfo(device *d, memory *out);

int nvmlInit_v2(void)
{
    only.started++;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    if (!only.started)
        return UNINITIALIZED;
    only.started--;
    return SUCCESS;
}

int nvmlSystemGetNVMLVersion(char *version, unsigned length)
{
    if (!only.started)
        return UNINITIALIZED;
    snprintf(version, length, "13.590.44.01");
    return SUCCESS;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, device **out)
{
    unsigned domain, number, slot;
    if (!only.started)
        return UNINITIALIZED;
    if (sscanf(bus, "%8x:%2x:%2x.0", &domain, &number, &slot) != 3)
        return NOT_FOUND;
    *out = &only;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(device *d, int type, unsigned *mhz)
{
    ANSWER(d, type == 1 ? mhz : NULL, 1755);
}

int nvmlDeviceGetMaxClockInfo(device *d, int type, unsigned *mhz)
{
    ANSWER(d, type == 1 ? mhz : NULL, 1980);
}

int nvmlDeviceGetPowerUsage(device *d, unsigned *milliwatts)
{
    ANSWER(d, milliwatts, 312400);
}

int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *milliwatts)
{
    ANSWER(d, milliwatts, 700000);
}

int nvmlDeviceGetTemperature(device *d, int sensor, unsigned *celsius)
{
    ANSWER(d, sensor == 0 ? celsius : NULL, 61);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device *d, unsigned long long *mask)
{
    ANSWER(d, mask, 0);
}

int nvmlDeviceGetUtilizationRates(device *d, utilization *out)
{
    const utilization now = {.gpu = 97, .memory = 42};
    ANSWER(d, out, now);
}

int nvmlDeviceGetMemoryInfo(device *d, memory *out)
{
    const memory now = {.total = 80ull << 30, .free = 78ull << 30, .used = 2ull << 30};
    ANSWER(d, out, now);
}
