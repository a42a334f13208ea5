/* terminal.c - see terminal.h. */
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int gf_terminal_columns(FILE *out)
{
    struct winsize w;
    if (ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        return w.ws_col;
    const char *set = getenv("COLUMNS");
    const int n = set && strlen(set) < 6 ? atoi(set) : 0;
    return n > 0 ? n : 80;
}

bool gf_terminal_colors(FILE *out)
{
    const char *none = getenv("NO_COLOR"); /* no-color.org: set and not empty */
    return isatty(fileno(out)) && !(none && none[0]);
}
