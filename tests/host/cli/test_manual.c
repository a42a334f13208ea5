/* test_manual.c - man pages, the reference of options and completion: every option of the table is
 * in them, and the programs that read them accept them. */
#include "cli/manual.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/option_table.h"

/* Feeds `text` to a shell command; its exit status. */
static int feed(const char *command, const char *text)
{
    FILE *pipe = popen(command, "w");
    cr_assert(pipe);
    cr_assert(fputs(text, pipe) >= 0);
    return pclose(pipe);
}

static bool have(const char *program)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    return system(command) == 0;
}

/* What bash offers for the last of `words`. */
static void offered(char *out, size_t size, const char *script, const char *words)
{
    char path[] = "completion-XXXXXX", command[512];
    const int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert(write(fd, script, strlen(script)) == (ssize_t)strlen(script));
    close(fd);
    snprintf(command, sizeof command,
             "bash -c 'source ./%s; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _graft "
             "2>/dev/null; echo \"${COMPREPLY[*]}\"'",
             path, words);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    out[fread(out, 1, size - 1, pipe)] = 0;
    cr_assert(pclose(pipe) == 0);
    unlink(path);
}

Test(manual, pages_name_every_option_and_groff_has_nothing_to_say)
{
    gf_err err = {0};
    for (int c = 0; c <= GF_COMMANDS; c++) {
        gf_buf page = {0};
        cr_assert(gf_manual_page(&page, (gf_command)c, &err) == GF_OK, "%s", err.text);
        const gf_option *p;
        for (int i = 0; c < GF_COMMANDS && (p = gf_option_at(i)); i++) {
            char dashed[192] = "\\fB"; /* every dash is escaped */
            size_t n = strlen(dashed);
            for (const char *f = gf_option_written(p->name).text; *f; f++)
                n += (size_t)snprintf(dashed + n, sizeof dashed - n, "%s%c", *f == '-' ? "\\" : "",
                                      *f);
            snprintf(dashed + n, sizeof dashed - n, "\\fR ");
            cr_expect(!(p->commands & 1u << c) || strstr(page.data, dashed), "%s: %s",
                      gf_command_name((gf_command)c), p->name);
        }
        if (have("groff"))
            cr_expect(feed("test -z \"$(groff -man -ww -z 2>&1)\"", page.data) == 0);
        gf_buf_free(&page);
    }
}

Test(manual, the_chapter_is_one_table_a_command)
{
    gf_buf all = {0}, one = {0};
    gf_err err = {0};
    cr_assert(gf_manual_chapter(&all, GF_COMMANDS, &err) == GF_OK);
    cr_assert(gf_manual_chapter(&one, GF_CMD_eval, &err) == GF_OK);
    cr_expect(!strncmp(one.data, "## graft eval\n\n", 15));
    cr_expect(strstr(all.data, one.data), "a command's chapter stands in the whole");
    cr_expect(strstr(one.data, "| `--data-format CHOICE` | "));
    for (const char *line = one.data; line; line = strchr(line + 1, '\n')) {
        int bars = 0;
        for (const char *p = line + 1; *p && *p != '\n'; p++)
            bars += *p == '|' && p[-1] != '\\';
        cr_expect(line[1] != '|' || bars == 3, "a cell is cut: %.60s", line + 1);
    }
    gf_buf_free(&all);
    gf_buf_free(&one);
}

Test(manual, bash_completes_commands_options_choices_and_files)
{
    gf_buf script = {0};
    gf_err err = {0};
    char got[4096];
    cr_assert(gf_completion_bash(&script, &err) == GF_OK);
    cr_assert(feed("bash -n", script.data) == 0);
    offered(got, sizeof got, script.data, "graft tok");
    cr_expect_str_eq(got, "tokenize\n");
    offered(got, sizeof got, script.data, "graft train --learning-r");
    cr_expect_str_eq(got, "--learning-rate\n");
    offered(got, sizeof got, script.data, "graft train --overlength tr");
    cr_expect_str_eq(got, "truncate\n");
    offered(got, sizeof got, script.data, "graft train --train_on comp");
    cr_expect_str_eq(got, "completion\n");
    offered(got, sizeof got, script.data, "graft info --mo");
    cr_expect_str_eq(got, "--model\n");
    gf_buf_free(&script);
}

Test(manual, zsh_reads_its_completion)
{
    gf_buf script = {0};
    gf_err err = {0};
    cr_assert(gf_completion_zsh(&script, &err) == GF_OK);
    cr_expect(!strncmp(script.data, "#compdef graft\n", 15));
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++)
        cr_expect((p->notes & GF_OPT_LATER) || strstr(script.data, gf_option_written(p->name).text),
                  "%s", p->name);
    if (have("zsh"))
        cr_expect(feed("zsh -n", script.data) == 0);
    gf_buf_free(&script);
}
