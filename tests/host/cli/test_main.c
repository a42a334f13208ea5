/* test_main.c - the program itself: exit codes, one line on stderr, results on stdout only. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Runs the program with arguments and redirections; the exit code, and what the pipe got. */
static int run(const char *arguments, char text[8192])
{
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s", GRAFT_BIN, arguments);
    FILE *f = popen(command, "r");
    cr_assert(f);
    const size_t n = fread(text, 1, 8191, f);
    text[n] = 0;
    while (fgetc(f) != EOF) /* a closed pipe would be an error of its own */
        ;
    const int status = pclose(f);
    cr_assert(WIFEXITED(status), "graft %s: died of signal %d", arguments, WTERMSIG(status));
    return WEXITSTATUS(status);
}

Test(main, wrong_usage_is_exit_code_2_and_one_line_on_stderr)
{
    static const char *const wrong[] = {
        "",
        "trian",
        "train",
        "train --lora-r 0",
        "eval --model /no/such --data /none",
        "sweep",
        "-x",
        "info",
        "merge --model a --adapter b --output-dir c --dtype f64",
        "train --model a --data b --output-dir c --quantization nf4",
    };
    char text[8192], arguments[256];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(arguments, sizeof arguments, "%s 2>&1 >/dev/null", wrong[i]);
        cr_expect(run(arguments, text) == 2, "graft %s: %s", wrong[i], text);
        cr_expect(!strncmp(text, "graft: ", 7), "graft %s: %s", wrong[i], text);
        cr_expect(strchr(text, '\n') == text + strlen(text) - 1, "graft %s: %s", wrong[i], text);
        snprintf(arguments, sizeof arguments, "%s 2>/dev/null", wrong[i]);
        run(arguments, text);
        cr_expect(!text[0], "graft %s: stdout has %s", wrong[i], text);
    }
}

Test(main, help_and_version_go_to_stdout)
{
    char text[8192];
    cr_expect(run("--version 2>/dev/null", text) == 0 && !strncmp(text, "graft ", 6), "%s", text);
    cr_expect(run("--help 2>/dev/null", text) == 0 && strstr(text, "tokenize"), "%s", text);
    cr_expect(run("train --help 2>/dev/null", text) == 0 && strstr(text, "--lora-r"), "%s", text);
}

Test(main, a_result_that_cannot_be_written_is_exit_code_1)
{
    char text[8192];
    cr_expect(run("train --help 2>&1 >/dev/full", text) == 1, "%s", text);
    cr_expect(!strncmp(text, "graft: ", 7), "%s", text);
    cr_expect(run("--version 2>&1 >/dev/full", text) == 1, "%s", text);
}
