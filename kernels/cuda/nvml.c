/* nvml.c - load, memory, clocks, power and what holds them down, from NVIDIA's monitor library,
 * which comes with the driver and is loaded while the program runs. Its header is not part of the
 * toolkit that graft needs, so the few calls are declared here. */
#include "measure.h"

#include <pthread.h>
#include <stdio.h>

#include "device.h"
#include "library.h"

typedef void *monitored;
typedef int answer; /* 0: done */

enum { SM_CLOCK = 1, GPU_TEMPERATURE = 0 };

/* nvmlClocksEventReason...: software power cap 4, hardware slowdown 8, heat 0x20 and 0x40, power
 * brake 0x80. Idle (1) and clocks that somebody set (2) are none. */
#define HELD_DOWN 0xECull

typedef struct {
    unsigned gpu, memory; /* percent */
} utilization;

typedef struct {
    unsigned long long total, free, used; /* bytes */
} memory;

typedef struct {
    answer (*init)(void);
    answer (*find)(const char *bus, monitored *out);
    answer (*clock)(monitored, int type, unsigned *mhz);
    answer (*clock_most)(monitored, int type, unsigned *mhz);
    answer (*power)(monitored, unsigned *milliwatts);
    answer (*power_most)(monitored, unsigned *milliwatts);
    answer (*temperature)(monitored, int sensor, unsigned *celsius);
    answer (*reasons)(monitored, unsigned long long *mask);
    answer (*utilization)(monitored, utilization *out);
    answer (*memory)(monitored, memory *out);
} nvml;

static gf_status load(nvml *n, void **library, gf_err *err)
{
    static const char *const names[] = {"libnvidia-ml.so.1", NULL};
    const gf_symbol symbols[] = {
        {"nvmlInit_v2", &n->init},
        {"nvmlDeviceGetHandleByPciBusId_v2", &n->find},
        {"nvmlDeviceGetClockInfo", &n->clock},
        {"nvmlDeviceGetMaxClockInfo", &n->clock_most},
        {"nvmlDeviceGetPowerUsage", &n->power},
        {"nvmlDeviceGetEnforcedPowerLimit", &n->power_most},
        {"nvmlDeviceGetTemperature", &n->temperature},
        {"nvmlDeviceGetCurrentClocksThrottleReasons", &n->reasons},
        {"nvmlDeviceGetUtilizationRates", &n->utilization},
        {"nvmlDeviceGetMemoryInfo", &n->memory},
    };
    return gf_library_open(library, names, symbols, sizeof symbols / sizeof *symbols,
                           "clocks are not reported", err);
}

/* The device where the monitor knows it: CUDA may count and order devices in its own way. */
static bool bus_of(const gf_cuda *c, char *text, size_t size)
{
    int domain, bus, slot;
    if (c->absent ||
        c->call.device_attribute(&domain, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, c->device) ||
        c->call.device_attribute(&bus, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, c->device) ||
        c->call.device_attribute(&slot, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, c->device))
        return false;
    (void)snprintf(text, size, "%08x:%02x:%02x.0", (unsigned)domain, (unsigned)bus, (unsigned)slot);
    return true;
}

/* A number that this GPU does not have stays 0. */
static void ask(const nvml *n, monitored device, gf_device_state *out)
{
    unsigned long long reasons = 0;
    unsigned milliwatts = 0;
    utilization use;
    memory room;
    (void)n->clock(device, SM_CLOCK, &out->clock);
    (void)n->clock_most(device, SM_CLOCK, &out->clock_most);
    if (n->power(device, &milliwatts) == 0)
        out->watts = milliwatts / 1000;
    if (n->power_most(device, &milliwatts) == 0)
        out->watts_most = milliwatts / 1000;
    (void)n->temperature(device, GPU_TEMPERATURE, &out->celsius);
    if (n->utilization(device, &use) == 0)
        out->busy = use.gpu;
    if (n->memory(device, &room) == 0) {
        out->memory_used = room.used;
        out->memory = room.total;
    }
    out->throttled = n->reasons(device, &reasons) == 0 && (reasons & HELD_DOWN);
}

/* Opened once, for good: starting NVML takes long, and the driver's libraries stay loaded too. */
static struct {
    pthread_mutex_t lock;
    void *library;
    nvml call;
    bool started;
} the = {.lock = PTHREAD_MUTEX_INITIALIZER};

static gf_status start(gf_err *err)
{
    if (!the.library)
        TRY(load(&the.call, &the.library, err));
    if (!the.started && the.call.init() != 0)
        return gf_fail(err, GF_EMISSING, "NVML does not start");
    the.started = true;
    return GF_OK;
}

gf_status gf_cuda_device_look(const gf_backend *be, gf_device_state *out, gf_err *err)
{
    char bus[32];
    monitored device;
    pthread_mutex_lock(&the.lock);
    const gf_status st = start(err);
    pthread_mutex_unlock(&the.lock);
    TRY(st);
    if (!bus_of(be->cuda, bus, sizeof bus))
        return gf_fail(err, GF_EMISSING, "the device has no place on a PCI bus");
    if (the.call.find(bus, &device) != 0)
        return gf_fail(err, GF_EMISSING, "NVML does not know the device at %s", bus);
    ask(&the.call, device, out);
    return GF_OK;
}
