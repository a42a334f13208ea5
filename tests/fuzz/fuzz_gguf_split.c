/* fuzz_gguf_split.c - libFuzzer entry: two files of a model that is split; the length of the first
 * one is the input's first four bytes. What is accepted is read. */
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/graft-fuzz-XXXXXX";

static void leave(void)
{
    gf_dir_remove(folder, NULL);
}

static void put(const char *name, const uint8_t *data, size_t size, char path[64])
{
    snprintf(path, 64, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made = false;
    uint32_t first = 0;
    char one[64], two[64];
    gf_gguf g;
    if (!made && (!mkdtemp(folder) || atexit(leave) != 0))
        abort();
    made = true;
    if (size < sizeof first)
        return 0;
    memcpy(&first, data, sizeof first);
    data += sizeof first;
    size -= sizeof first;
    if (first > size)
        return 0;
    put("m-00001-of-00002.gguf", data, first, one);
    put("m-00002-of-00002.gguf", data + first, size - first, two);
    if (gf_gguf_open(&g, one, NULL) == GF_OK) {
        for (int i = 0; i < g.source.count; i++) {
            const gf_entry *e = &g.source.entry[i];
            char *bytes = malloc(e->bytes + 1);
            if (gf_source_find(&g.source, e->name) != e ||
                gf_source_read(&g.source, e, 0, bytes, e->bytes, NULL) != GF_OK)
                abort();
            free(bytes);
        }
        gf_gguf_close(&g);
    }
    return 0;
}
