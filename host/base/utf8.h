/* utf8.h - UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing
 * beyond U+10FFFF. */
#ifndef GRAFT_HOST_BASE_UTF8_H
#define GRAFT_HOST_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at s, of which n >= 1 bytes are there; 0 if it is not valid. */
size_t gf_utf8_step(const unsigned char *s, size_t n);

/* Writes a scalar value (asserted) and returns its number of bytes. */
size_t gf_utf8_put(unsigned char out[4], uint32_t cp);

/* Length of the longest valid prefix: n if all of it is valid. */
size_t gf_utf8_valid(const char *s, size_t n);

#endif
