/* fuzz_peft.c - libFuzzer entry: any bytes as a config; what is accepted matches names and is
 * written back. The input goes through a file in memory. */
#include "format/peft.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const modules[] = {"model.layers.0.self_attn.q_proj", "lm_head", ""};
    static char out[64]; /* written through a rename, so it needs a folder */
    char path[64];
    gf_peft_config c, again;
    if (!out[0])
        snprintf(out, sizeof out, "/tmp/graft-fuzz-peft-%ld.json", (long)getpid());
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (gf_peft_read_config(&c, path, NULL) == GF_OK) {
        for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
            bool yes;
            int64_t r;
            double scale;
            gf_peft_matches(&yes, &c, modules[i], NULL);
            gf_peft_rank(&r, &scale, &c, modules[i], NULL);
        }
        if (gf_peft_write_config(&c, out, NULL) == GF_OK) {
            if (gf_peft_read_config(&again, out, NULL) != GF_OK)
                abort();
            gf_peft_config_free(&again);
            unlink(out);
        }
        gf_peft_config_free(&c);
    }
    close(fd);
    return 0;
}
