/* scratch.h - a folder of its own for a test, and files in it. */
#ifndef GRAFT_TESTS_SUPPORT_SCRATCH_H
#define GRAFT_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>

/* The folder, made on the first call and removed with all that is in it when the test's process
 * ends. */
const char *scratch_dir(void);

/* "FOLDER/NAME"; the last 8 results stay valid. */
const char *scratch_path(const char *name);

/* Writes a file into the folder and returns its path. */
const char *scratch_write(const char *name, const void *data, size_t size);

#endif
