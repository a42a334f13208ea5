/* test_file.c - reading, folders, and files that appear complete or not at all. */
#include "base/file.h"
#include "support/scratch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

static int entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void expect_content(const char *path, const char *want)
{
    char *data;
    size_t size;
    gf_err err = {0};
    cr_assert_eq(gf_file_read(path, &data, &size, &err), GF_OK, "%s", err.text);
    cr_expect_eq(size, strlen(want));
    cr_expect_str_eq(data, want);
    free(data);
}

Test(file, read)
{
    char *data;
    size_t size;
    expect_content(scratch_write("a", "hello", 5), "hello");
    expect_content(scratch_write("b", "", 0), "");
    cr_assert_eq(gf_file_read("/proc/self/status", &data, &size, NULL), GF_OK,
                 "a file that says it is empty");
    cr_expect_gt(size, 100);
    free(data);
    gf_err err = {0}, folder = {0};
    cr_expect_eq(gf_file_read("/nonexistent/x", &data, &size, &err), GF_EINPUT);
    cr_expect_str_eq(err.text, "/nonexistent/x: No such file or directory");
    cr_expect_eq(gf_file_read(scratch_dir(), &data, &size, &folder), GF_EINPUT);
    cr_expect_null(data);
}

Test(file, map)
{
    gf_map m;
    gf_err err = {0};
    cr_assert_eq(gf_file_map(&m, scratch_write("a", "hello", 5), &err), GF_OK);
    cr_expect_eq(m.size, 5);
    cr_expect_arr_eq(m.data, "hello", 5);
    gf_file_unmap(&m);
    cr_expect_null(m.data);
    cr_assert_eq(gf_file_map(&m, scratch_write("b", "", 0), &err), GF_OK);
    cr_expect_eq(m.size, 0);
    cr_expect_not_null(m.data);
    gf_file_unmap(&m);
    cr_expect_eq(gf_file_map(&m, scratch_dir(), &err), GF_EINPUT);
    gf_err device = {0};
    cr_expect_eq(gf_file_map(&m, "/dev/null", &device), GF_EINPUT);
}

Test(file, folders)
{
    bool empty = false;
    gf_err err = {0};
    cr_expect_eq(gf_dir_is_empty(scratch_path("none"), &empty, &err), GF_OK);
    cr_expect(empty);
    cr_assert_eq(gf_dir_make(scratch_path("a/b//c/"), &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_dir_make(scratch_path("a/b/c"), &err), GF_OK, "again");
    cr_expect(gf_dir_exists(scratch_path("a/b/c")));
    cr_expect(!gf_file_exists(scratch_path("a/b")));
    scratch_write("a/b/file", "x", 1);
    scratch_write("kept", "x", 1);
    cr_expect(gf_file_exists(scratch_path("a/b/file")));
    cr_expect_eq(symlink(scratch_path("kept"), scratch_path("a/link")), 0);
    cr_expect_eq(symlink(scratch_dir(), scratch_path("a/b/up")), 0);
    cr_assert_eq(gf_dir_is_empty(scratch_path("a"), &empty, &err), GF_OK);
    cr_expect(!empty);
    cr_expect_eq(gf_dir_make(scratch_path("kept/sub"), NULL), GF_EIO);
    cr_assert_eq(gf_dir_remove(scratch_path("a"), &err), GF_OK, "%s", err.text);
    cr_expect(!gf_dir_exists(scratch_path("a")));
    cr_expect(gf_file_exists(scratch_path("kept")), "links are not followed");
    cr_expect_eq(gf_dir_remove(scratch_path("a"), &err), GF_OK, "missing is fine");
}

Test(file, paths)
{
    char *p = gf_path_join("a", "b", NULL), *q = gf_path_join("a/", "b", NULL),
         *r = gf_path_join("", "b", NULL);
    cr_expect_str_eq(p, "a/b");
    cr_expect_str_eq(q, "a/b");
    cr_expect_str_eq(r, "b");
    free(p);
    free(q);
    free(r);
    cr_expect_str_eq(gf_path_name("/x/y.z"), "y.z");
    cr_expect_str_eq(gf_path_name("y.z"), "y.z");
}

Test(file, appears_complete)
{
    gf_out *o;
    gf_err err = {0};
    const char *path = scratch_write("a", "old", 3);
    cr_assert_eq(gf_out_open(&o, path, &err), GF_OK);
    gf_buf big = {0};
    for (int i = 0; i < 60000; i++)
        gf_buf_printf(&big, NULL, "line %d\n", i);
    cr_assert_eq(gf_out_write(o, big.data, 10, &err), GF_OK);
    cr_assert_eq(gf_out_write(o, big.data + 10, big.len - 20, &err), GF_OK);
    cr_assert_eq(gf_out_write(o, big.data + big.len - 10, 10, &err), GF_OK);
    expect_content(path, "old");
    cr_assert_eq(gf_out_commit(o, &err), GF_OK, "%s", err.text);
    expect_content(path, big.data);
    cr_expect_eq(entries(scratch_dir()), 1);
    struct stat info;
    const mode_t mask = umask(0);
    umask(mask);
    cr_assert_eq(stat(path, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0644 & ~mask);
    gf_buf_free(&big);
}

/* Runs of zeros of every length and place, in pieces of several sizes: what is read back is what
 * was written, and a file that is mostly zeros takes little of the disk where it can have holes. */
Test(file, zeros_become_holes)
{
    enum { SIZE = 3000000, RUNS = 40 };
    static const size_t pieces[] = {SIZE, 700001, 1000};
    static char data[SIZE];
    uint32_t random = 1;
    for (int i = 0; i < RUNS; i++) {
        random = random * 1664525 + 1013904223; /* Numerical Recipes' */
        const size_t at = random % SIZE;
        memset(data + at, 'x', at + (size_t)i * 50 < SIZE ? (size_t)i * 50 : 1);
    }
    memset(data + SIZE - 200000, 0, 200000); /* a hole at the end */
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        gf_out *o;
        char *back = NULL;
        size_t size = 0;
        const char *path = scratch_path("holes");
        cr_assert_eq(gf_out_open(&o, path, NULL), GF_OK);
        gf_out_sparse(o);
        for (size_t at = 0; at < SIZE; at += pieces[p]) {
            const size_t n = SIZE - at < pieces[p] ? SIZE - at : pieces[p];
            cr_assert_eq(gf_out_write(o, data + at, n, NULL), GF_OK);
        }
        cr_assert_eq(gf_out_commit(o, NULL), GF_OK);
        cr_assert_eq(gf_file_read(path, &back, &size, NULL), GF_OK);
        cr_expect(size == SIZE && memcmp(back, data, SIZE) == 0, "pieces of %zu", pieces[p]);
        free(back);
    }
}

Test(file, two_writers_and_cancel)
{
    gf_out *a, *b;
    const char *path = scratch_path("a");
    cr_assert_eq(gf_out_open(&a, path, NULL), GF_OK);
    cr_assert_eq(gf_out_open(&b, path, NULL), GF_OK);
    gf_out_write(a, "a", 1, NULL);
    gf_out_write(b, "b", 1, NULL);
    cr_expect_eq(gf_out_commit(a, NULL), GF_OK);
    gf_out_cancel(b);
    gf_out_cancel(NULL);
    expect_content(path, "a");
    cr_expect_eq(entries(scratch_dir()), 1);
    cr_expect_eq(gf_file_write(path, "c", 1, NULL), GF_OK);
    expect_content(path, "c");
}

Test(file, where_it_cannot_be_written)
{
    gf_out *o;
    gf_err err = {0};
    cr_expect_eq(gf_out_open(&o, "/nonexistent/x", &err), GF_EIO);
    cr_expect(strstr(err.text, "/nonexistent/x"));
    cr_expect_null(o);
    gf_err onto = {0};
    gf_dir_make(scratch_path("d"), NULL);
    cr_expect_eq(gf_file_write(scratch_path("d"), "x", 1, &onto), GF_EIO, "onto a folder");
    cr_expect_eq(entries(scratch_dir()), 1);
}

/* A limit on the file's size stands for a full disk. */
Test(file, full_disk_keeps_the_old_file)
{
    enum { LIMIT = 100000 };
    gf_out *o;
    gf_err err = {0};
    const char *path = scratch_write("a", "old", 3);
    const struct rlimit limit = {LIMIT, LIMIT};
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(gf_out_open(&o, path, &err), GF_OK);
    char *data = calloc(LIMIT, 10);
    cr_expect_eq(gf_out_write(o, data, (size_t)LIMIT * 10, &err), GF_EIO);
    cr_expect(strstr(err.text, path), "%s", err.text);
    cr_expect_eq(entries(scratch_dir()), 1, "the temporary file is gone");
    gf_err second = {0}, third = {0};
    cr_expect_eq(gf_out_write(o, data, 1, &second), GF_EIO);
    cr_expect_eq(gf_out_commit(o, &third), GF_EIO);
    cr_expect_eq(gf_file_write(path, data, 2 * LIMIT, NULL), GF_EIO, "found while committing");
    expect_content(path, "old");
    cr_expect_eq(entries(scratch_dir()), 1);
    free(data);
}
