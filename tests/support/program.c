/* program.c - see program.h. */
#include "support/program.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char *scratch_make(void)
{
    char *dir = strdup("/tmp/graft-test-XXXXXX");
    if (!mkdtemp(dir)) {
        perror(dir);
        abort();
    }
    return dir;
}

void scratch_remove(char *dir)
{
    run(NULL, "rm -rf '%s'", dir);
    free(dir);
}

/* Everything that a pipe gives. */
static char *slurp(FILE *f)
{
    size_t cap = 1 << 16, len = 0;
    char *text = malloc(cap);
    for (size_t n; (n = fread(text + len, 1, cap - len - 1, f)) > 0;) {
        len += n;
        if (cap - len < 2)
            text = realloc(text, cap *= 2);
    }
    text[len] = 0;
    return text;
}

static int run_line(char **out, const char *line)
{
    FILE *f = popen(line, "r");
    if (!f)
        abort();
    char *text = slurp(f);
    const int st = pclose(f);
    if (out)
        *out = text;
    else
        free(text);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

static char *line_of(const char *redirect, const char *fmt, va_list args)
{
    char *command, *line;
    if (vasprintf(&command, fmt, args) < 0 || asprintf(&line, "%s %s", command, redirect) < 0)
        abort();
    free(command);
    return line;
}

int run(char **out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *line = line_of("2>&1", fmt, args);
    va_end(args);
    const int code = run_line(out, line);
    free(line);
    return code;
}

int run_stdout(char **out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *line = line_of("2>/dev/null", fmt, args);
    va_end(args);
    const int code = run_line(out, line);
    free(line);
    return code;
}

static char *file_bytes(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*size + 1);
    *size = fread(data, 1, *size, f);
    data[*size] = 0;
    fclose(f);
    return data;
}

bool same_bytes(const char *a, const char *b)
{
    size_t n = 0, m = 0;
    char *x = file_bytes(a, &n), *y = file_bytes(b, &m);
    const bool same = x && y && n == m && !memcmp(x, y, n);
    free(x);
    free(y);
    return same;
}

double jsonl_number(const char *path, const char *key, int n)
{
    size_t size;
    char *text = file_bytes(path, &size), want[80];
    double x = NAN;
    if (!text)
        return x;
    snprintf(want, sizeof want, "\"%s\":", key);
    const char *at = text;
    for (int i = 0; at && i <= n; i++) {
        at = strstr(i ? at + 1 : at, want);
        if (at && i == n)
            x = strtod(at + strlen(want), NULL);
    }
    free(text);
    return x;
}

const char *smollm2_path(void)
{
    const char *path = getenv("GRAFT_SMOLLM2");
    if (!path || !*path)
        path = GRAFT_TESTS "/../build/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    return access(path, R_OK) == 0 ? path : NULL;
}
