/* dataset_bed.h - data files made in a test, with a tokenizer of single bytes: what is trained can
 * be read off. */
#ifndef GRAFT_TESTS_HOST_TEXT_DATASET_BED_H
#define GRAFT_TESTS_HOST_TEXT_DATASET_BED_H

#include "base/file.h"
#include "text/dataset.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char chatml[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + "
    "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}";

static gf_tokenizer *bed_tokenizer; /* each test is a process of its own */

static inline gf_tokenizer *tokenizer(void)
{
    gf_err err = {0};
    if (bed_tokenizer == NULL)
        cr_assert_eq(gf_tokenizer_open(&bed_tokenizer, GRAFT_TESTS "/golden/bytes", &err), GF_OK,
                     "%s", err.text);
    return bed_tokenizer;
}

static inline void close_tokenizer(void)
{
    gf_tokenizer_free(bed_tokenizer);
    bed_tokenizer = NULL;
}

static inline gf_template *template(const char *text)
{
    gf_template *t = NULL;
    gf_err err = {0};
    cr_assert_eq(gf_template_parse(&t, text, strlen(text), "template", &err), GF_OK, "%s",
                 err.text);
    return t;
}

/* Loads `text` as a file with the given ending. */
static inline gf_status load(gf_dataset *d, const char *ending, const char *text,
                             const gf_data_options *opt, gf_err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/graft-test-%d%s", (int)getpid(), ending);
    cr_assert_eq(gf_file_write(path, text, strlen(text), err), GF_OK, "%s", err->text);
    char *files[] = {path};
    const gf_status st = gf_dataset_load(d, files, 1, opt, err);
    unlink(path);
    return st;
}

/* The trained stretches of an example in brackets. */
static inline void trained_text(const gf_example *e, gf_buf *b)
{
    gf_err err = {0};
    b->len = 0;
    gf_buf_str(b, "", &err);
    for (int64_t i = 0, n; i < e->length; i += n == 0 ? 1 : n) {
        for (n = 0; i + n < e->length && e->labels[i + n] != -100; n++)
            cr_expect_eq(e->labels[i + n], e->ids[i + n]);
        if (n == 0)
            continue;
        gf_buf_str(b, "[", &err);
        gf_tokenizer_decode(tokenizer(), &e->ids[i], n, false, b, &err);
        gf_buf_str(b, "]", &err);
    }
}

static inline void expect_trained(const char *chat, const char *ending, const char *text,
                                  gf_train_on train_on, const char *const *want)
{
    gf_err err = {0};
    gf_dataset d = {0};
    gf_buf b = {0};
    gf_template *t = chat == NULL ? NULL : template(chat);
    const gf_data_options opt = {
        .tokenizer = tokenizer(), .chat = t, .vocab = 263, .train_on = train_on};
    cr_expect_eq(load(&d, ending, text, &opt, &err), GF_OK, "%s", err.text);
    int64_t n = 0;
    while (want[n] != NULL)
        n++;
    cr_expect_eq(d.count, n);
    for (int64_t i = 0; i < n && i < d.count; i++) {
        const gf_example e = gf_dataset_at(&d, i);
        trained_text(&e, &b);
        cr_expect_str_eq(b.data, want[i], "%s", text);
    }
    gf_buf_free(&b);
    gf_dataset_free(&d);
    gf_template_free(t);
    close_tokenizer();
}

#define WANT(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void expect_error(const char *chat, const char *ending, const char *text,
                                gf_status status, const char *what)
{
    gf_err err = {0};
    gf_dataset d = {0};
    gf_template *t = chat == NULL ? NULL : template(chat);
    const gf_data_options opt = {
        .tokenizer = tokenizer(), .chat = t, .vocab = 263, .max_length = 60};
    cr_expect_eq(load(&d, ending, text, &opt, &err), status, "%s: %s", text, err.text);
    cr_expect(strstr(err.text, what) != NULL, "%s: %s", text, err.text);
    cr_expect(strstr(err.text, "/tmp/graft-test") != NULL, "%s", err.text);
    gf_dataset_free(&d);
    gf_template_free(t);
}

#define USER "{\"role\":\"user\",\"content\":\"q\"}"

#endif
