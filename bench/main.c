/* main.c - bench: kernels against what this machine can do. One table of subcommands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static const struct {
    const char *name, *help;
    bench_run *run;
} commands[] = {
    {"roofline", "peak of multiply-adds and copy bandwidth of this machine", bench_roofline},
    {"gemm", "the linear layers' products as a share of the peak", bench_gemm},
    {"step", "whole training steps of --model: tokens/s, share of the peak, memory", bench_step},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static clockid_t source = CLOCK_MONOTONIC;

double bench_now(void)
{
    struct timespec t;
    clock_gettime(source, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool bench_open(gf_backend *be, const bench_options *o, int threads)
{
    gf_err err = {0};
    if (gf_backend_open_cpu(be, threads, o->isa, &err) == GF_OK)
        return true;
    fprintf(stderr, "bench: %s\n", err.text);
    return false;
}

int bench_threads(const bench_options *o, int counts[2])
{
    counts[0] = o->threads ? o->threads : 1;
    gf_backend be;
    if (o->threads || o->cpu_time || !bench_open(&be, o, 0))
        return 1;
    counts[1] = gf_backend_threads(&be);
    gf_backend_close(&be);
    return counts[1] > 1 ? 2 : 1;
}

static void print_json(const char *what, const bench_value *v, int count)
{
    printf("{\"bench\":\"%s\"", what);
    for (int i = 0; i < count; i++)
        if (v[i].text)
            printf(",\"%s\":\"%s\"", v[i].key, v[i].text);
        else
            printf(",\"%s\":%.*f", v[i].key, v[i].decimals, v[i].number);
    printf("}\n");
}

void bench_print(const bench_options *o, const char *what, const bench_value *v, int count)
{
    static char last[512];
    if (o->json) {
        print_json(what, v, count);
        fflush(stdout);
        return;
    }
    char head[512];
    int n = snprintf(head, sizeof head, "%-10s", what);
    for (int i = 0; i < count && n < (int)sizeof head; i++)
        n += snprintf(head + n, sizeof head - (size_t)n, " %10s", v[i].key);
    if (strcmp(head, last) != 0)
        printf("\n%s\n", head);
    memcpy(last, head, sizeof last);
    printf("%-10s", "");
    for (int i = 0; i < count; i++)
        if (v[i].text)
            printf(" %10s", v[i].text);
        else
            printf(" %10.*f", v[i].decimals, v[i].number);
    printf("\n");
    fflush(stdout);
}

static int usage(void)
{
    fprintf(
        stderr,
        "usage: bench COMMAND [--threads N] [--isa NAME] [--tokens N] [--seconds X] "
        "[--json] [--cpu-time]\n             step also: --model PATH [--rank 16] [--steps 5]\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].help);
    return 2;
}

static bool read_options(int argc, char **argv, bench_options *o)
{
    for (int i = 0; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--json") == 0) {
            o->json = true;
            continue;
        }
        if (strcmp(name, "--cpu-time") == 0) {
            o->cpu_time = true;
            source = CLOCK_PROCESS_CPUTIME_ID;
            continue;
        }
        if (i + 1 >= argc)
            return false;
        const char *value = argv[++i];
        char *end = NULL;
        const double x = strtod(value, &end);
        const bool number = end != value && *end == 0 && x > 0 && x < 1e6;
        if (strcmp(name, "--isa") == 0)
            o->isa = value;
        else if (strcmp(name, "--model") == 0)
            o->model = value;
        else if (number && strcmp(name, "--rank") == 0)
            o->rank = (int64_t)x;
        else if (number && strcmp(name, "--steps") == 0)
            o->steps = (int64_t)x;
        else if (number && strcmp(name, "--threads") == 0)
            o->threads = (int)x;
        else if (number && strcmp(name, "--tokens") == 0)
            o->tokens = (int64_t)x;
        else if (number && strcmp(name, "--seconds") == 0)
            o->seconds = x;
        else
            return false;
    }
    return o->tokens > 0 && !(o->cpu_time && o->threads > 1);
}

int main(int argc, char **argv)
{
    bench_options o = {.isa = "auto", .tokens = 512, .seconds = 0.15, .rank = 16, .steps = 5};
    if (argc < 2 || !read_options(argc - 2, argv + 2, &o))
        return usage();
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(&o);
    return usage();
}
