/* comm_launch.c - who a process is, from the options and from what its launcher set. */
#include "comm/plane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>

enum { MOST_RANKS = 1 << 20, MOST_PORT = 65535 };

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

static bool has_mpi_launcher(void)
{
    static const char *const signs[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK",
                                        "PMIX_RANK"};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (getenv(signs[i]))
            return true;
    return false;
}

/* A whole number in [lo, hi] and nothing else. */
static gf_status read_number(int *out, const char *text, int lo, int hi, const char *where,
                             gf_err *err)
{
    char *end;
    errno = 0;
    const long x = strtol(text, &end, 10);
    if (end == text || *end || errno || x < lo || x > hi)
        return gf_fail(err, GF_EARG, "%s: \"%.40s\" is not a whole number from %d to %d", where,
                       text, lo, hi);
    *out = (int)x;
    return GF_OK;
}

static gf_status read_variable(int *out, const char *name, int lo, int hi, gf_err *err)
{
    const char *text = variable(name);
    return text ? read_number(out, text, lo, hi, name, err) : GF_OK;
}

/* HOST:PORT; a host with colons stands in brackets. */
static gf_status read_rendezvous(gf_place *p, const char *text, gf_err *err)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    const char *host = text;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    } else if (n && memchr(host, ':', n)) {
        n = 0;
    }
    if (n == 0 || n >= sizeof p->host)
        return gf_fail(err, GF_EARG,
                       "--rendezvous: \"%.200s\" is not HOST:PORT (an IPv6 address as [::1]:29500)",
                       text);
    snprintf(p->host, sizeof p->host, "%.*s", (int)n, host);
    return read_number(&p->port, colon + 1, 1, MOST_PORT, "the port of --rendezvous", err);
}

static gf_status read_master(gf_place *p, gf_err *err)
{
    const char *host = variable("MASTER_ADDR"), *agent = variable("TORCHELASTIC_USE_AGENT_STORE");
    TRY(read_variable(&p->port, "MASTER_PORT", 1, MOST_PORT, err));
    if (host && strlen(host) >= sizeof p->host)
        return gf_fail(err, GF_EARG, "MASTER_ADDR is too long for the name of a machine");
    if (host)
        snprintf(p->host, sizeof p->host, "%s", host);
    if (p->port && p->port < MOST_PORT && agent && !strcmp(agent, "True"))
        p->port++; /* torchrun's own server listens there */
    return GF_OK;
}

/* What the options leave open comes from torchrun's variables. */
static gf_status read_tcp(gf_place *p, const gf_comm_options *opt, gf_err *err)
{
    p->kind = GF_PLANE_TCP;
    p->rank = -1;
    p->size = 0;
    TRY(read_variable(&p->rank, "RANK", 0, MOST_RANKS - 1, err));
    TRY(read_variable(&p->size, "WORLD_SIZE", 1, MOST_RANKS, err));
    TRY(read_variable(&p->local_rank, "LOCAL_RANK", 0, MOST_RANKS - 1, err));
    if (opt && opt->rank >= 0) {
        p->rank = opt->rank;
        p->local_rank = -1; /* that of another rank */
    }
    if (opt && opt->size > 0)
        p->size = opt->size;
    if (opt && opt->rendezvous)
        TRY(read_rendezvous(p, opt->rendezvous, err));
    else
        TRY(read_master(p, err));
    if (p->size == 0 || p->rank < 0)
        return gf_fail(err, GF_EARG,
                       "%s is not known: give --rank R --world-size N (or RANK and "
                       "WORLD_SIZE in the environment)",
                       p->size == 0 ? "the number of ranks" : "which rank this is");
    if (p->rank >= p->size)
        return gf_fail(err, GF_EARG, "rank %d of %d ranks: ranks count from 0", p->rank, p->size);
    if (p->size > 1 && (!p->host[0] || !p->port))
        return gf_fail(err, GF_EARG,
                       "%d ranks need a place to meet: give --rendezvous HOST:PORT, a port of rank "
                       "0's machine (or MASTER_ADDR and MASTER_PORT in the environment)",
                       p->size);
    if (p->size == 1)
        p->kind = GF_PLANE_ONE;
    return GF_OK;
}

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

/* The name alone may be the same on two machines ("localhost"); the kernel's id alone is the same
 * in two containers of one machine, which have devices of their own. */
static void know_machine(gf_place *p)
{
    char boot[64] = "";
    const char *devices = getenv("CUDA_VISIBLE_DEVICES");
    if (gethostname(p->name, sizeof p->name) || !p->name[0])
        snprintf(p->name, sizeof p->name, "localhost");
    p->name[sizeof p->name - 1] = 0;
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (f) {
        if (!fgets(boot, sizeof boot, f))
            boot[0] = 0;
        fclose(f);
    }
    p->machine = hash(hash(0xcbf29ce484222325u, p->name), boot);
    p->view = hash(p->machine, devices ? devices : "all");
}

gf_status gf_place_find(gf_place *p, const gf_comm_options *opt, gf_err *err)
{
    *p = (gf_place){.size = 1, .local_rank = -1, .timeout_ms = GF_RENDEZVOUS_MS};
    const bool asked = opt && (opt->rank >= 0 || opt->size > 0 || opt->rendezvous);
    const bool torchrun = variable("TORCHELASTIC_RUN_ID");
    if (opt && opt->timeout_ms > 0)
        p->timeout_ms = opt->timeout_ms;
    know_machine(p);
    if (!asked && !torchrun && has_mpi_launcher())
        p->kind = GF_PLANE_MPI;
    else if (asked || (variable("RANK") && variable("WORLD_SIZE")))
        TRY(read_tcp(p, opt, err));
    else if (variable("WORLD_SIZE") && strcmp(variable("WORLD_SIZE"), "1") != 0)
        return gf_fail(
            err, GF_EARG,
            "WORLD_SIZE is %.40s, but RANK is not set: set both, or neither for one rank",
            variable("WORLD_SIZE"));
    return GF_OK;
}
