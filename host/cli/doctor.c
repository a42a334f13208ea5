/* doctor.c - contract: doctor.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "cli/doctor.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/json.h"
#include "base/number.h"
#include "cli/describe.h"
#include "cli/machine.h"

/* Checkpoints of a 135M-parameter model fill this in a day of experiments. */
#define LITTLE_DISK (1ull << 30)

static void add(gf_findings *f, const char *name, gf_finding_state state, const char *how,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void add(gf_findings *f, const char *name, gf_finding_state state, const char *how,
                const char *fmt, ...)
{
    va_list args;
    if (f->count == GF_FINDINGS)
        return;
    gf_finding *at = &f->item[f->count++];
    *at = (gf_finding){.name = name, .state = state, .how = how};
    va_start(args, fmt);
    (void)vsnprintf(at->text, sizeof at->text, fmt, args);
    va_end(args);
    f->lacking += state == GF_LACKING;
}

/* ---- the machine ------------------------------------------------------------------------- */

static void look_at_machine(gf_findings *f)
{
    gf_machine m;
    gf_buf isas = {0};
    char best[32];
    gf_machine_look(&m);
    add(f, "processor", GF_FOUND, NULL, "%s, %d %s", m.cpu[0] ? m.cpu : "of unknown name", m.cores,
        m.cores == 1 ? "core" : "cores");
    if (gf_describe_isas(&isas, best, NULL) == GF_OK)
        add(f, "instruction sets", strcmp(best, "plain") ? GF_FOUND : GF_OPTIONAL,
            strcmp(best, "plain") ? NULL
                                  : "training is several times faster on a processor with AVX2",
            "%s; graft takes %s", isas.data, best);
    gf_buf_free(&isas);
    if (m.memory)
        add(f, "memory", GF_FOUND, NULL, "%s, of which %s free",
            gf_number_bytes_short(m.memory).text, gf_number_bytes_short(m.free_).text);
}

static void look_at_disk(gf_findings *f, const char *dir)
{
    struct statvfs s;
    uint64_t left;
    if (statvfs(dir, &s) != 0) {
        add(f, "disk", GF_LACKING, "make the folder, or go to another", "%s: %s", dir,
            strerror(errno));
        return;
    }
    left = (uint64_t)s.f_bavail * s.f_frsize;
    const bool writable = access(dir, W_OK) == 0;
    add(f, "disk", !writable || left < LITTLE_DISK ? GF_LACKING : GF_FOUND,
        !writable            ? "go to a folder that you may write"
        : left < LITTLE_DISK ? "make room: checkpoints and merged models are written here"
                             : NULL,
        "%s free here%s", gf_number_bytes_short(left).text,
        writable ? "" : ", where you may not write");
}

/* ---- GPUs ---------------------------------------------------------------------------------- */

/* Does the PCI bus have a display or 3D controller of NVIDIA's? Without a driver nobody else tells.
 */
static int nvidia_cards(void)
{
    static const char root[] = "/sys/bus/pci/devices";
    int cards = 0;
    DIR *d = opendir(root);
    if (!d)
        return 0;
    for (const struct dirent *e; (e = readdir(d));) {
        char path[512], vendor[16] = "", class[16] = "";
        (void)snprintf(path, sizeof path, "%s/%.200s/vendor", root, e->d_name);
        FILE *v = fopen(path, "re");
        (void)snprintf(path, sizeof path, "%s/%.200s/class", root, e->d_name);
        FILE *c = fopen(path, "re");
        if (v && c && fgets(vendor, sizeof vendor, v) && fgets(class, sizeof class, c))
            cards += !strncmp(vendor, "0x10de", 6) && !strncmp(class, "0x03", 4);
        if (v)
            fclose(v);
        if (c)
            fclose(c);
    }
    closedir(d);
    return cards;
}

static void add_library(gf_findings *f, const char *name, int version, gf_finding_state without,
                        const char *how)
{
    if (version)
        add(f, name, GF_FOUND, NULL, "%d.%d.%d", version / 10000, version / 100 % 100,
            version % 100);
    else
        add(f, name, without, how, "not found");
}

static void look_at_gpus(gf_findings *f)
{
    gf_cuda_machine m;
    gf_cuda_look(&m);
    if (m.devices == 0) {
        const int cards = m.driver ? 0 : nvidia_cards(); /* a driver that shows none was told so */
        if (cards)
            add(f, "gpu", GF_LACKING,
                "the driver: apt install nvidia-driver (Debian, non-free) or ubuntu-drivers "
                "install "
                "(Ubuntu); if it is there, build graft where nvcc is: apt install "
                "nvidia-cuda-toolkit",
                "%d of NVIDIA's on the bus, none to be used: %.160s", cards, m.why);
        else
            add(f, "gpu", GF_OPTIONAL, "none is needed: graft trains on the processor, too",
                "none: %.200s", m.why);
        return;
    }
    add(f, "driver", GF_FOUND, NULL, "for CUDA %d.%d", m.driver / 1000, m.driver % 1000 / 10);
    for (int i = 0; i < m.devices; i++) {
        gf_device d;
        gf_err why = {0};
        if (gf_cuda_device(&d, i, &why) == GF_OK)
            add(f, "gpu", GF_FOUND, NULL,
                "%d: %.100s, compute capability %d.%d, %s, of which %s free", i, d.name, d.major,
                d.minor, gf_number_bytes_short(d.memory).text, gf_number_bytes_short(d.free_).text);
        else
            add(f, "gpu", GF_LACKING, "see dmesg for what the driver says", "%d: %.200s", i,
                why.text);
    }
    add_library(f, "cublaslt", m.cublaslt, GF_LACKING,
                "pip install nvidia-cublas, or apt install libcublaslt12, and put its folder into "
                "LD_LIBRARY_PATH");
    add_library(f, "nccl", m.nccl, m.devices > 1 ? GF_LACKING : GF_OPTIONAL,
                "several GPUs want it: apt install libnccl2, or pip install nvidia-nccl-cu13");
    if (m.nvml[0])
        add(f, "nvml", GF_FOUND, NULL, "%s", m.nvml);
    else
        add(f, "nvml", GF_OPTIONAL,
            "load, power and temperature of the GPU: apt install libnvidia-ml1 (Debian) or "
            "nvidia-utils of the driver's version (Ubuntu)",
            "not found");
}

/* ---- libraries ----------------------------------------------------------------------------- */

/* Is there a program of this name in PATH? */
static bool has_program(const char *name)
{
    const char *at = getenv("PATH");
    char path[1024];
    while (at && *at) {
        const size_t n = strcspn(at, ":");
        (void)snprintf(path, sizeof path, "%.*s/%s", (int)n, at, name);
        if (access(path, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

static void look_at_libraries(gf_findings *f)
{
    char version[64] = "?";
    static const char mpi[] = "apt install openmpi-bin libopenmpi-dev, and build graft again";
#ifdef GRAFT_MPI
    if (has_program("mpirun"))
        add(f, "mpi", GF_FOUND, NULL, "built in, and mpirun is there");
    else
        add(f, "mpi", GF_OPTIONAL, "several ranks with mpirun: apt install openmpi-bin",
            "built in, but there is no mpirun");
    (void)mpi;
#else
    add(f, "mpi", GF_OPTIONAL, mpi, "not built in; several ranks meet over TCP");
#endif
    add(f, "cjson", GF_FOUND, NULL, "%s", cJSON_Version());
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof version)
        (void)pcre2_config(PCRE2_CONFIG_VERSION, version);
    add(f, "pcre2", GF_FOUND, NULL, "%s", version);
    add(f, "utf8proc", GF_FOUND, NULL, "%s", utf8proc_version());
    add(f, "openssl", GF_FOUND, NULL, "%s", OpenSSL_version(OPENSSL_VERSION));
}

void gf_doctor_look(gf_findings *f, const char *dir)
{
    *f = (gf_findings){0};
    look_at_machine(f);
    look_at_disk(f, dir);
    look_at_gpus(f);
    look_at_libraries(f);
}

/* ---- telling ----------------------------------------------------------------------------------
 */

static const char *const words[] = {
#define X(state, word) [state] = word,
    GF_FINDING_LIST(X)
#undef X
};

gf_status gf_doctor_text(const gf_findings *f, gf_buf *out, gf_err *err)
{
    for (int i = 0; i < f->count; i++) {
        const gf_finding *at = &f->item[i];
        TRY(gf_buf_printf(out, err, "%-9s %-17s %s\n", words[at->state], at->name, at->text));
        if (at->how)
            TRY(gf_buf_printf(out, err, "%28s%s\n", "-> ", at->how));
    }
    return GF_OK;
}

gf_status gf_doctor_json(const gf_findings *f, gf_buf *out, gf_err *err)
{
    TRY(gf_buf_printf(out, err, "{\"ok\":%s,\"findings\":[", f->lacking ? "false" : "true"));
    for (int i = 0; i < f->count; i++) {
        const gf_finding *at = &f->item[i];
        const size_t n = gf_utf8_valid(at->text, strlen(at->text)); /* a name cut inside a letter */
        TRY(gf_buf_printf(out, err, "%s\n{\"name\":\"%s\",\"state\":\"%s\",\"text\":", i ? "," : "",
                          at->name, words[at->state]));
        TRY(gf_json_quote(out, at->text, n, err));
        TRY(gf_buf_str(out, ",\"how\":", err));
        if (at->how)
            TRY(gf_json_quote(out, at->how, strlen(at->how), err));
        else
            TRY(gf_buf_str(out, "null", err));
        TRY(gf_buf_str(out, "}", err));
    }
    return gf_buf_str(out, "]}\n", err);
}
