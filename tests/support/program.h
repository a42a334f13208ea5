/* program.h - running the program itself: command lines, their output, temporary folders. */
#ifndef GRAFT_TESTS_SUPPORT_PROGRAM_H
#define GRAFT_TESTS_SUPPORT_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new folder below the system's temporary folder, "" removed by scratch_remove. The string is the
 * caller's. */
char *scratch_make(void);
void scratch_remove(char *dir);

/* Runs a shell command line; stdout and stderr go to `out` together (the caller frees it; may be
 * NULL). Returns the exit code, 128 + signal if it was killed. */
int run(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same with the text of stdout alone. */
int run_stdout(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Are two files the same bytes? Missing: no. */
bool same_bytes(const char *a, const char *b);

/* The number behind "key": in the n-th line (from 0) of a JSONL file that has it; NaN: none. */
double jsonl_number(const char *path, const char *key, int n);

/* The SmolLM2 GGUF (environment GRAFT_SMOLLM2, or where tools/model.sh puts it), or NULL. */
const char *smollm2_path(void);

#endif
