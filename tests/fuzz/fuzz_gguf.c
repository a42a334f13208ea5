/* fuzz_gguf.c - libFuzzer entry: any bytes as a file; every value and tensor of what is accepted is
 * read. The input goes through a file in memory. */
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sum; /* so that the reads are not optimised away */

static void use(const gf_gguf *g)
{
    for (int i = 0; i < g->count; i++) {
        const char *key = g->kv[i].key, *text;
        const unsigned char *cursor = NULL;
        char *copy;
        size_t n;
        int64_t whole;
        double real;
        bool flag;
        gf_gguf_int(&whole, g, key, 0, 0, 100, NULL);
        gf_gguf_double(&real, g, key, 0, NULL);
        gf_gguf_bool(&flag, g, key, false, NULL);
        if (gf_gguf_string(&copy, g, key, NULL) == GF_OK)
            free(copy);
        while (gf_gguf_next_string(&g->kv[i], &cursor, &text, &n))
            for (size_t k = 0; k < n; k++)
                sum = sum + (unsigned char)text[k];
        for (uint64_t k = 0; k < g->kv[i].bytes; k++)
            sum = sum + g->kv[i].data[k];
    }
    for (int i = 0; i < g->source.count; i++) {
        const gf_entry *e = &g->source.entry[i];
        char *bytes = malloc(e->bytes + 1);
        if (gf_source_find(&g->source, e->name) != e ||
            gf_source_read(&g->source, e, 0, bytes, e->bytes, NULL) != GF_OK)
            abort();
        free(bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    gf_gguf g;
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (gf_gguf_open(&g, path, NULL) == GF_OK) {
        use(&g);
        gf_gguf_close(&g);
    }
    close(fd);
    return 0;
}
