/* number.c - numbers for people. Contract: number.h. */
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>

gf_number gf_number_bytes_short(uint64_t n)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    gf_number out;
    if (n < 1024) {
        snprintf(out.text, sizeof out.text, "%" PRIu64 " byte%s", n, n == 1 ? "" : "s");
        return out;
    }
    double x = (double)n / 1024;
    int unit = 0;
    while (x >= 1023.95 && unit < 5) { /* what would print as 1024.0 */
        x /= 1024;
        unit++;
    }
    snprintf(out.text, sizeof out.text, "%.1f %s", x, units[unit]);
    return out;
}

gf_number gf_number_bytes(uint64_t n)
{
    if (n < 1024)
        return gf_number_bytes_short(n);
    gf_number out;
    const gf_number brief = gf_number_bytes_short(n);
    snprintf(out.text, sizeof out.text, "%.20s (%" PRIu64 " bytes)", brief.text, n);
    return out;
}

gf_number gf_number_count(int64_t n)
{
    char digits[24];
    gf_number out;
    size_t at = 0;
    const int length =
        snprintf(digits, sizeof digits, "%" PRIu64, n < 0 ? -(uint64_t)n : (uint64_t)n);
    if (n < 0)
        out.text[at++] = '-';
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out.text[at++] = ',';
        out.text[at++] = digits[i];
    }
    out.text[at] = 0;
    return out;
}

gf_number gf_number_duration(double seconds)
{
    gf_number out;
    if (!(seconds >= 0 && seconds < 1e12)) { /* 1e12 s: 30,000 years; its minutes fit an int64 */
        snprintf(out.text, sizeof out.text, "?");
        return out;
    }
    const int64_t s = (int64_t)(seconds + 0.5);
    if (seconds < 9.95)
        snprintf(out.text, sizeof out.text, "%.1f s", seconds);
    else if (s < 60)
        snprintf(out.text, sizeof out.text, "%d s", (int)s);
    else if (s < 3600)
        snprintf(out.text, sizeof out.text, "%d min %02d s", (int)(s / 60), (int)(s % 60));
    else if (s < 86400)
        snprintf(out.text, sizeof out.text, "%d h %02d min", (int)(s / 3600), (int)(s / 60 % 60));
    else
        snprintf(out.text, sizeof out.text, "%" PRId64 " d %02d h", s / 86400,
                 (int)(s / 3600 % 24));
    return out;
}
