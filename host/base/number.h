/* number.h - numbers for people: bytes, counts, durations. By value, so that they stand inside a
 * printf: gf_number_bytes(n).text. */
#ifndef GRAFT_HOST_BASE_NUMBER_H
#define GRAFT_HOST_BASE_NUMBER_H

#include "graft/base.h"

typedef struct {
    char text[64];
} gf_number;

/* "97.6 MiB (102340096 bytes)"; below 1 KiB only "512 bytes". */
gf_number gf_number_bytes(uint64_t n);
/* "97.6 MiB", "512 bytes". */
gf_number gf_number_bytes_short(uint64_t n);
/* "134,515,008" */
gf_number gf_number_count(int64_t n);
/* "0.8 s", "42 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"; "?" for a negative or infinite one. */
gf_number gf_number_duration(double seconds);

#endif
