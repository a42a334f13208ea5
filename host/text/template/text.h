/* text.h - UTF-8 text as Python sees it: characters, whitespace, case. */
#ifndef GRAFT_HOST_TEXT_TEMPLATE_TEXT_H
#define GRAFT_HOST_TEXT_TEMPLATE_TEXT_H

#include "graft/base.h"

/* The character at s (n > 0 bytes of valid UTF-8) and its bytes in *step. */
uint32_t gf_jchar_at(const char *s, size_t n, size_t *step);
/* Writes cp as UTF-8 (at most 4 bytes); returns the bytes written. */
size_t gf_jchar_put(char *d, uint32_t cp);
bool gf_jchar_space(uint32_t cp);     /* str.isspace */
bool gf_jchar_printable(uint32_t cp); /* str.isprintable */
uint32_t gf_jchar_upper(uint32_t cp);
uint32_t gf_jchar_lower(uint32_t cp);
bool gf_jchar_cased(uint32_t cp);
bool gf_jchar_alpha(uint32_t cp);
bool gf_jchar_digit(uint32_t cp);

bool gf_jtext_valid(const char *s, size_t n);    /* UTF-8? */
size_t gf_jtext_length(const char *s, size_t n); /* characters */
size_t gf_jtext_rstrip(const char *s, size_t n); /* bytes left without trailing whitespace */
size_t gf_jtext_lstrip(const char *s, size_t n); /* bytes of leading whitespace */
/* Byte of the k-th character (k <= length). */
size_t gf_jtext_offset(const char *s, size_t n, size_t k);
/* First, or last, occurrence at or after byte `from`; SIZE_MAX if none. */
size_t gf_jtext_find(const char *s, size_t n, const char *what, size_t k, size_t from);
size_t gf_jtext_rfind(const char *s, size_t n, const char *what, size_t k);

#endif
