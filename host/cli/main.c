/* main.c - the program: options, one command, one line for what failed, the exit code. */
#include "cli/commands.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static gf_status run(const gf_options *o, gf_err *err)
{
    static gf_status (*const commands[GF_COMMANDS])(const gf_options *, gf_err *) = {
        [GF_CMD_data] = gf_cmd_data,         [GF_CMD_plan] = gf_cmd_plan,
        [GF_CMD_train] = gf_cmd_train,       [GF_CMD_eval] = gf_cmd_eval,
        [GF_CMD_generate] = gf_cmd_generate, [GF_CMD_chat] = gf_cmd_chat,
        [GF_CMD_merge] = gf_cmd_merge,       [GF_CMD_convert] = gf_cmd_convert,
        [GF_CMD_export] = gf_cmd_export,     [GF_CMD_tokenize] = gf_cmd_tokenize,
        [GF_CMD_info] = gf_cmd_info,         [GF_CMD_help] = gf_cmd_help,
        [GF_CMD_doctor] = gf_cmd_doctor,
    };
    if (!commands[o->command]) /* the parser refuses these; the table may fall behind it */
        return gf_fail(err, GF_EMISSING, "this command is not in this version");
    return commands[o->command](o, err);
}

static gf_status print_help(const gf_options *o, gf_err *err)
{
    gf_buf text = {0};
    const gf_status st = gf_options_help(o, &text, err);
    if (st == GF_OK)
        fputs(text.data, stdout);
    gf_buf_free(&text);
    return st;
}

/* Closed standard streams are filled, or the first file opened would take their place and what is
 * meant for stderr would go into it. Read-only: a result for a closed stdout is still an error. */
static void fill_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char *argv[])
{
    fill_streams();
    /* A full disk quota or a closed pipe is an error to report like any other, not a death. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    gf_options o = {0};
    gf_err err = {0};
    gf_status st = gf_options_parse(&o, argc, argv, &err);
    if (st == GF_OK && o.help)
        st = print_help(&o, &err);
    else if (st == GF_OK && o.version)
        printf("graft %s\n", GRAFT_VERSION);
    else if (st == GF_OK)
        st = run(&o, &err);
    if ((fflush(stdout) != 0 || ferror(stdout)) && st == GF_OK)
        st = gf_fail(&err, GF_EIO, "the result could not be written to standard output");
    if (st != GF_OK)
        gf_print_error(st, &err);
    gf_options_free(&o);
    return gf_exit_code(st);
}
