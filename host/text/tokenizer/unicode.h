/* unicode.h - stepping through checked UTF-8, and the character classes of Unicode 16 that
 * tokenizers use. */
#ifndef GRAFT_HOST_TEXT_UNICODE_H
#define GRAFT_HOST_TEXT_UNICODE_H

#include "base/utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t first, last;
} gf_cp_range;

typedef struct {
    uint32_t first, last, stand_in;
} gf_cp_stand_in;

typedef struct {
    uint32_t first, last;
    int32_t step, delta;
} gf_cp_lower;

/* Written by tools/unicode-tables.py; sorted. */
extern const gf_cp_range gf_unicode_number[], gf_unicode_punctuation[], gf_unicode_word[],
    gf_unicode_composing[];
extern const size_t gf_unicode_number_count, gf_unicode_punctuation_count, gf_unicode_word_count,
    gf_unicode_composing_count;
extern const gf_cp_stand_in gf_unicode_stand_in[];
extern const size_t gf_unicode_stand_in_count;
extern const gf_cp_lower gf_unicode_lower[];
extern const size_t gf_unicode_lower_count;

/* Length (1..4) of the character at s, which must be valid UTF-8; *cp is its code point. */
size_t gf_utf8_next(const char *s, uint32_t *cp);
/* Start of the character that ends before s + at (at > 0). */
size_t gf_utf8_back(const char *s, size_t at);
/* Length of the maximal part at s that a lossy decoder replaces by one U+FFFD; s is not valid. */
size_t gf_utf8_bad(const char *s, size_t n);

bool gf_is_space(uint32_t cp); /* White_Space */
bool gf_is_number(uint32_t cp);
bool gf_is_punctuation(uint32_t cp); /* category P in Unicode 8, ASCII's */
bool gf_is_word(uint32_t cp);        /* alphabetic, marks, digits, connectors, joiners */
bool gf_is_composing(uint32_t cp);
uint32_t gf_to_lower(uint32_t cp);
/* A code point of the same category and UTF-8 length that older Unicode tables know; cp itself
 * where they know it. */
uint32_t gf_stand_in(uint32_t cp);

#endif
