/* fuzz_bnb.c - libFuzzer entry: any bytes as a safetensors file with quantised weights; what is put
 * together is read. */
#include "format/bnb.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    gf_source s;
    int folded;
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (gf_safetensors_open(&s, path, NULL) == GF_OK) {
        if (gf_bnb_fold(&s, &folded, NULL) == GF_OK)
            for (int i = 0; i < s.count; i++) {
                const gf_entry *e = &s.entry[i];
                char *bytes = malloc(e->bytes + 1);
                if (gf_source_find(&s, e->name) != e ||
                    gf_source_read(&s, e, 0, bytes, e->bytes, NULL) != GF_OK)
                    abort();
                free(bytes);
            }
        gf_source_close(&s);
    }
    close(fd);
    return 0;
}
