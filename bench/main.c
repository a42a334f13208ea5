/* main.c - bench: kernels against what this machine can do. One table of subcommands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static const struct {
    const char *name, *help;
    bench_run *run;
    int64_t tokens; /* unless --tokens says otherwise; 0: several, or the shape's */
} commands[] = {
    {"roofline", "what this machine can do: copying, products, multiply-adds", bench_roofline, 0},
    {"gemm", "CPU: the linear layers' products as a share of the peak", bench_gemm, 512},
    {"kernels", "every op at the sizes of known models, checked, then timed", bench_kernels, 0},
    {"step", "whole training steps of --model: tokens/s, share of the peak, memory", bench_step,
     512},
    {"model", "known models on known GPUs, predicted from a dry run; needs no GPU", bench_model, 0},
    {"plan", "the memory of the same, part by part", bench_plan, 0},
    {"peers", "PyTorch + PEFT on the work of step, where they are installed", bench_peers, 512},
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

static int usage(void)
{
    fprintf(stderr, "usage: bench COMMAND [--device cpu|cuda[:N]] [--tokens N] [--seconds X] "
                    "[--json]\n"
                    "  on a CPU       [--threads N] [--isa NAME] [--cpu-time]\n"
                    "  kernels        [--shape NAME] [--op NAME]\n"
                    "  step, peers    --model PATH [--rank 16] [--steps 5] [--separate-lora]\n"
                    "  model, plan    [--model NAME] [--gpu NAME] [--rank 16] [--folder DIR]\n\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].help);
    return 2;
}

static bool read_device(const char *value, int *device)
{
    char *end = NULL;
    if (strcmp(value, "cpu") == 0) {
        *device = BENCH_CPU;
        return true;
    }
    if (strncmp(value, "cuda", 4) != 0)
        return false;
    *device = value[4] == ':' ? (int)strtol(value + 5, &end, 10) : 0;
    return value[4] == 0 || (value[4] == ':' && end != value + 5 && *end == 0 && *device >= 0);
}

static bool read_word(const char *name, const char *value, bench_options *o)
{
    const struct {
        const char *name;
        const char **to;
    } words[] = {{"--isa", &o->isa},     {"--model", &o->model}, {"--gpu", &o->gpu},
                 {"--shape", &o->shape}, {"--op", &o->op},       {"--folder", &o->folder}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(name, words[i].name) == 0) {
            *words[i].to = value;
            return true;
        }
    return strcmp(name, "--device") == 0 && read_device(value, &o->device);
}

static bool read_number(const char *name, const char *value, bench_options *o)
{
    char *end = NULL;
    const double x = strtod(value, &end);
    if (end == value || *end != 0 || !(x > 0 && x < 1e7))
        return false;
    if (strcmp(name, "--rank") == 0)
        o->rank = (int64_t)x;
    else if (strcmp(name, "--steps") == 0)
        o->steps = (int64_t)x;
    else if (strcmp(name, "--threads") == 0)
        o->threads = (int)x;
    else if (strcmp(name, "--tokens") == 0)
        o->tokens = (int64_t)x;
    else if (strcmp(name, "--seconds") == 0)
        o->seconds = x;
    else
        return false;
    return true;
}

static bool read_options(int argc, char **argv, bench_options *o)
{
    for (int i = 0; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--json") == 0) {
            o->json = true;
        } else if (strcmp(name, "--separate-lora") == 0) {
            o->separate = true;
        } else if (strcmp(name, "--cpu-time") == 0) {
            o->cpu_time = true;
            source = CLOCK_PROCESS_CPUTIME_ID;
        } else if (i + 1 >= argc ||
                   (!read_word(name, argv[i + 1], o) && !read_number(name, argv[i + 1], o))) {
            fprintf(stderr, "bench: %s%s%s: not understood\n", name, i + 1 < argc ? " " : "",
                    i + 1 < argc ? argv[i + 1] : "");
            return false;
        } else {
            i++;
        }
    }
    return !(o->cpu_time && o->threads > 1);
}

int main(int argc, char **argv)
{
    bench_options o = {.isa = "auto", .seconds = 0.15, .device = BENCH_CPU, .rank = 16, .steps = 5};
    if (argc < 2 || !read_options(argc - 2, argv + 2, &o))
        return usage();
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            o.tokens = o.tokens ? o.tokens : commands[i].tokens;
            return commands[i].run(&o);
        }
    return usage();
}
