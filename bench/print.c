/* print.c - one result as a line of a table or as a JSON line. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

#ifndef GRAFT_GIT
#define GRAFT_GIT "unknown"
#endif
#ifndef GRAFT_BUILD
#define GRAFT_BUILD "unknown"
#endif

static char device[512]; /* ,"gpu":{...} */

/* Text between quotes: what comes from files and drivers may hold anything. */
static void put_text(const char *text)
{
    putchar('"');
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text >= ' ')
            putchar(*text);
    putchar('"');
}

static void put_host(void)
{
    static char name[128] = "unknown";
    char line[256];
    FILE *f = strcmp(name, "unknown") == 0 ? fopen("/proc/cpuinfo", "r") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        const char *at = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!at)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 2, "\n"), at + 2);
        break;
    }
    if (f)
        fclose(f);
    put_text(name);
}

void bench_print_device(const bench_options *o, gf_backend *be)
{
    const gf_device *d = gf_backend_device(be);
    gf_cuda_machine m = {.devices = 0};
    gf_cuda_look(&m);
    if (o->json)
        snprintf(device, sizeof device,
                 ",\"gpu\":{\"name\":\"%.100s\",\"cc\":\"%d.%d\",\"sms\":%d,\"l2\":%lld,"
                 "\"mem\":%llu,\"driver\":%d},\"cublas\":%d,\"nccl\":%d",
                 d->name, d->major, d->minor, d->multiprocessors, (long long)d->l2,
                 (unsigned long long)d->memory, m.driver, m.cublaslt, m.nccl);
    else
        printf("\n%s, compute capability %d.%d, %d multiprocessors, %.1f GiB\n", d->name, d->major,
               d->minor, d->multiprocessors, (double)d->memory / 0x1p30);
}

static void print_json(const char *what, const bench_value *v, int count)
{
    printf("{\"schema\":1,\"git\":\"%s\",\"build\":\"%s\",\"host\":", GRAFT_GIT, GRAFT_BUILD);
    put_host();
    printf("%s,\"bench\":\"%s\"", device, what);
    for (int i = 0; i < count; i++) {
        printf(",\"%s\":", v[i].key);
        if (v[i].text)
            put_text(v[i].text);
        else
            printf("%.*f", v[i].decimals, v[i].number);
    }
    printf("}\n");
}

static int width_of(const bench_value *v)
{
    const size_t key = strlen(v->key), text = v->text ? strlen(v->text) : 0;
    const size_t most = key > text ? key : text;
    return most > 10 ? (int)most : 10;
}

void bench_print(const bench_options *o, const char *what, const bench_value *v, int count)
{
    static char last[1024];
    if (o->json) {
        print_json(what, v, count);
        fflush(stdout);
        return;
    }
    char head[1024];
    int n = snprintf(head, sizeof head, "%-10s", what);
    for (int i = 0; i < count && n < (int)sizeof head; i++)
        n += snprintf(head + n, sizeof head - (size_t)n, " %10s", v[i].key);
    if (strcmp(head, last) != 0) {
        printf("\n%-10s", what);
        for (int i = 0; i < count; i++)
            printf(" %*s", width_of(&v[i]), v[i].key);
        printf("\n");
    }
    memcpy(last, head, sizeof last);
    printf("%-10s", "");
    for (int i = 0; i < count; i++)
        if (v[i].text)
            printf(" %*s", width_of(&v[i]), v[i].text);
        else
            printf(" %*.*f", width_of(&v[i]), v[i].decimals, v[i].number);
    printf("\n");
    fflush(stdout);
}
