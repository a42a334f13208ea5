#!/usr/bin/env python3
"""Writes host/text/tokenizer/unicode_tables.c: the Unicode 16 facts that tokenizers need.

    pip install 'unicodedata2==16.*'
    tools/unicode-tables.py > host/text/tokenizer/unicode_tables.c

Run it with a Python whose own unicodedata is Unicode 14 (3.11): the stand-in table is the difference
between the two, so that PCRE2 (Unicode 14 or later) gives Unicode 16's categories.
"""
import unicodedata as old
import unicodedata2 as new

assert new.unidata_version == "16.0.0", new.unidata_version
assert old.unidata_version == "14.0.0", old.unidata_version

TOP = 0x110000
SURROGATES = range(0xD800, 0xE000)
CATEGORY = [new.category(chr(c)) for c in range(TOP)]
# Symbols with the Alphabetic property (Other_Alphabetic), which a word character class includes.
ALPHABETIC_SYMBOLS = [(0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]
JOINERS = {0x200C, 0x200D}  # \w of the regex engine that the Whitespace pre-tokenizer uses has them
# The Punctuation pre-tokenizer's own table is Unicode 8's: category P, less what came later, and two
# that are no longer of it. Measured with tokenizers 0.23.3 over all code points.
LATER_PUNCTUATION = [
    (0x61D, 0x61D), (0x9FD, 0x9FD), (0xA76, 0xA76), (0xC77, 0xC77), (0xC84, 0xC84),
    (0x1B4E, 0x1B4F), (0x1B7D, 0x1B7F), (0x2E43, 0x2E4F), (0x2E52, 0x2E5D), (0x10D6E, 0x10D6E),
    (0x10EAD, 0x10EAD), (0x10F55, 0x10F59), (0x10F86, 0x10F89), (0x113D4, 0x113D5),
    (0x113D7, 0x113D8), (0x1144B, 0x1144F), (0x1145A, 0x1145B), (0x1145D, 0x1145D),
    (0x11660, 0x1166C), (0x116B9, 0x116B9), (0x1183B, 0x1183B), (0x11944, 0x11946),
    (0x119E2, 0x119E2), (0x11A3F, 0x11A46), (0x11A9A, 0x11A9C), (0x11A9E, 0x11AA2),
    (0x11B00, 0x11B09), (0x11BE1, 0x11BE1), (0x11C41, 0x11C45), (0x11C70, 0x11C71),
    (0x11EF7, 0x11EF8), (0x11F43, 0x11F4F), (0x11FFF, 0x11FFF), (0x12FF1, 0x12FF2),
    (0x16D6D, 0x16D6F), (0x16E97, 0x16E9A), (0x16FE2, 0x16FE2), (0x1E5FF, 0x1E5FF),
    (0x1E95E, 0x1E95F)]
FORMER_PUNCTUATION = {0x166D, 0x111C9}
WORD = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc"}


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def emit(name, comment, rows):
    print(f"\n/* {comment} */")
    print(f"const gf_cp_range {name}[] = {{")
    line = "   "
    for row in rows:
        item = f" {{0x{row[0]:X}, 0x{row[1]:X}}},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};")
    print(f"const size_t {name}_count = sizeof {name} / sizeof {name}[0];")


def is_word(c):
    return CATEGORY[c] in WORD or c in JOINERS or any(a <= c <= b for a, b in ALPHABETIC_SYMBOLS)


def is_punctuation(c):
    later = any(a <= c <= b for a, b in LATER_PUNCTUATION)
    return CATEGORY[c][0] == "P" and not later or c in FORMER_PUNCTUATION


def composing():
    """Starters that may compose with what stands before them."""
    seconds = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    for c in range(TOP):
        parts = new.decomposition(chr(c)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            second = int(parts[1], 16)
            if new.combining(chr(second)) == 0 and new.normalize("NFC", chr(c)) == chr(c):
                seconds.add(second)
    return sorted(seconds)


def width(c):
    return 3 if c < 0x10000 else 4


def stand_ins():
    """(first, last, stand-in): a code point of the right category in both versions, of the same
    length in UTF-8. Unassigned ones become noncharacters, whatever a later PCRE2 knows of them."""
    chosen = {}
    for c in range(0x800, TOP):
        if c in SURROGATES or old.category(chr(c)) != CATEGORY[c]:
            continue
        chosen.setdefault((CATEGORY[c], width(c)), c)
    chosen[("Cn", 3)], chosen[("Cn", 4)] = 0xFFFE, 0x1FFFE
    out = []
    for c in range(TOP):
        same = old.category(chr(c)) == CATEGORY[c]
        if c in SURROGATES or (same and CATEGORY[c] != "Cn"):
            continue
        if c < 0x800:
            assert same, hex(c)  # two bytes: nothing has changed, and there is no noncharacter
            continue
        stand = chosen[(CATEGORY[c], width(c))]
        if CATEGORY[c] == "Lo" and c >= 0x20000:
            stand = 0x20000  # ideographs stay ideographs for script classes
        if c == stand:
            continue
        if out and out[-1][1] == c - 1 and out[-1][2] == stand:
            out[-1][1] = c
        else:
            out.append([c, c, stand])
    return out


def lower():
    """Runs (first, last, step, delta) of simple lower-case mappings."""
    out = []
    for c in range(TOP):
        if c in SURROGATES or c == 0x130:  # U+0130 becomes two code points: in code
            continue
        low = chr(c)
        if low == low.lower() and CATEGORY[c] != "Lu":
            continue
        mapped = lower_of(c)
        if mapped == c:
            continue
        d = mapped - c
        last = out[-1] if out else None
        if last and last[3] == d and last[2] in (0, c - last[1]) and c - last[1] <= 2:
            last[2] = c - last[1]
            last[1] = c
        else:
            out.append([c, c, 0, d])
    return [[a, b, s or 1, d] for a, b, s, d in out]


# Lower-case pairs that Unicode 15 and 16 added, which Python 3.11's str.lower does not know.
ADDED_LOWER = {0x1C89: 0x1C8A, 0xA7CB: 0x264, 0xA7CC: 0xA7CD, 0xA7DA: 0xA7DB, 0xA7DC: 0x19B}
ADDED_LOWER.update({0x10D50 + i: 0x10D70 + i for i in range(0x16)})


def lower_of(c):
    if c in ADDED_LOWER:
        return ADDED_LOWER[c]
    low = chr(c).lower()
    return ord(low) if len(low) == 1 else c


def main():
    print("/* unicode_tables.c - written by tools/unicode-tables.py from Unicode 16; do not edit. */")
    print('#include "text/unicode.h"')
    emit("gf_unicode_number", "General category N.",
         ranges(c for c in range(TOP) if CATEGORY[c][0] == "N"))
    emit("gf_unicode_punctuation", "General category P of Unicode 8.",
         ranges(c for c in range(TOP) if is_punctuation(c)))
    emit("gf_unicode_word", "Alphabetic, marks, decimal digits, connector punctuation, joiners.",
         ranges(c for c in range(TOP) if is_word(c)))
    emit("gf_unicode_composing", "Starters that may compose with the character before.",
         ranges(composing()))
    rows = stand_ins()
    print("\n/* Code points whose category a Unicode 14 engine does not know, with stand-ins. */")
    print("const gf_cp_stand_in gf_unicode_stand_in[] = {")
    for a, b, s in rows:
        print(f"    {{0x{a:X}, 0x{b:X}, 0x{s:X}}},")
    print("};")
    print("const size_t gf_unicode_stand_in_count =\n"
          "    sizeof gf_unicode_stand_in / sizeof gf_unicode_stand_in[0];")
    print("\n/* Simple lower-case mappings: every step-th code point of a run moves by delta. */")
    print("const gf_cp_lower gf_unicode_lower[] = {")
    for a, b, s, d in lower():
        print(f"    {{0x{a:X}, 0x{b:X}, {s}, {d}}},")
    print("};")
    print("const size_t gf_unicode_lower_count =\n"
          "    sizeof gf_unicode_lower / sizeof gf_unicode_lower[0];")


main()
