/* test_tensorboard.c - CRC-32C, and an events file byte for byte but for its times. The bytes of
 * the messages were made with TensorBoard's own protobuf classes (Event(...).SerializeToString());
 * tests/host/train/watch_run.py has TensorBoard's reader read whole runs. */
#include "format/tensorboard.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "support/program.h"

Test(tensorboard, crc32c)
{
    unsigned char zeros[32] = {0}; /* RFC 3720, B.4 */
    cr_expect_eq(gf_crc32c("123456789", 9), 0xE3069283u);
    cr_expect_eq(gf_crc32c(zeros, 32), 0x8A9136AAu);
    cr_expect_eq(gf_crc32c("", 0), 0u);
    cr_expect_eq(gf_crc32c_masked("", 0), 0xA282EAD8u);
}

/* The whole of the folder's n-th file of events, in the order of their names. */
static unsigned char *events_file(const char *dir, int n, size_t *size)
{
    struct dirent **list;
    char *data = NULL;
    gf_err err = {0};
    const int count = scandir(dir, &list, NULL, alphasort);
    cr_assert_gt(count, n + 2);
    cr_expect_eq(strncmp(list[n + 2]->d_name, "events.out.tfevents.", 20), 0);
    char *path = gf_path_join(dir, list[n + 2]->d_name, NULL);
    cr_assert_eq(gf_file_read(path, &data, size, &err), GF_OK, "%s", err.text);
    free(path);
    for (int i = 0; i < count; i++)
        free(list[i]);
    free(list);
    return (unsigned char *)data;
}

static uint64_t little(const unsigned char *p, int bytes)
{
    uint64_t x = 0;
    for (int i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

/* Checks the frame at *at and that the event, behind its time, is `want`. */
static void expect_record(const unsigned char *data, size_t size, size_t *at, const char *want,
                          size_t n)
{
    const unsigned char *p = data + *at;
    cr_assert_leq(*at + 12, size);
    const size_t length = (size_t)little(p, 8);
    cr_assert_leq(*at + 16 + length, size);
    cr_expect_eq(little(p + 8, 4), gf_crc32c_masked(p, 8));
    cr_expect_eq(little(p + 12 + length, 4), gf_crc32c_masked(p + 12, length));
    cr_expect_eq(p[12], 0x09); /* field 1, 64 bits: the time */
    cr_expect_eq(length - 9, n, "%zu bytes, want %zu", length - 9, n);
    cr_expect_eq(memcmp(p + 21, want, n < length - 9 ? n : length - 9), 0);
    *at += 16 + length;
}
#define EXPECT(text) expect_record(data, size, &at, text, sizeof(text) - 1)

Test(tensorboard, a_file_byte_for_byte)
{
    char *dir = scratch_make();
    gf_events *e;
    gf_err err = {0};
    size_t size, at = 0;
    cr_assert_eq(gf_events_open(&e, dir, 0, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_events_scalar(e, "train/loss", 300, 1.5, &err), GF_OK);
    cr_assert_eq(gf_events_text(e, "a/text_summary", 0, "*hi*", &err), GF_OK);
    cr_assert_eq(gf_events_hparams_end(e, true, &err), GF_OK);
    cr_assert_eq(gf_events_close(e, &err), GF_OK);
    unsigned char *data = events_file(dir, 0, &size);
    EXPECT("\x1a\x0d"
           "brain.Event:2");
    EXPECT("\x3a\x02\x08\x01");
    EXPECT("\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0a"
           "train/loss\x15\x00\x00\xc0\x3f");
    EXPECT("\x2a\x2c\x0a\x2a\x0a\x0e"
           "a/text_summary\x42\x0e\x08\x07\x12\x04\x12\x02\x08\x01\x42\x04*hi*\x4a\x08\x0a\x06\x0a"
           "\x04text");
    free(data);
    scratch_remove(dir);
}

/* A second file of the same second still comes behind the first, and starts a session. */
Test(tensorboard, files_in_order)
{
    char *dir = scratch_make();
    gf_events *e;
    gf_err err = {0};
    size_t size, at = 0;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gf_events_open(&e, dir, 100 * i, &err), GF_OK, "%s", err.text);
        cr_assert_eq(gf_events_close(e, &err), GF_OK);
    }
    unsigned char *data = events_file(dir, 2, &size);
    EXPECT("\x1a\x0d"
           "brain.Event:2");
    EXPECT("\x10\xc9\x01\x3a\x02\x08\x01"); /* step 201 */
    cr_expect_eq(at, size);
    free(data);
    scratch_remove(dir);
}

Test(tensorboard, a_full_disk_is_an_error)
{
    gf_events *e;
    gf_err err = {0};
    cr_expect_neq(gf_events_open(&e, "/dev/null/runs", 0, &err), GF_OK);
    cr_expect(strstr(err.text, "/dev/null"), "%s", err.text);
    cr_expect_null(e);
}
