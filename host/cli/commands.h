/* commands.h - one function per command. Results go to stdout, progress to stderr; what fails comes
 * back as a status, and main prints its one line. */
#ifndef GRAFT_HOST_CLI_COMMANDS_H
#define GRAFT_HOST_CLI_COMMANDS_H

#include "cli/options.h"

/* Prints what failed as one line, whatever text from a file stands in it; the first call alone.
 * main does so at the end; a command of several ranks before it leaves them, since mpirun ends all
 * that are still there when the first one exits. */
void gf_print_error(gf_status status, gf_err *err);

gf_status gf_cmd_data(const gf_options *o, gf_err *err);
gf_status gf_cmd_plan(const gf_options *o, gf_err *err);
gf_status gf_cmd_train(const gf_options *o, gf_err *err);
gf_status gf_cmd_eval(const gf_options *o, gf_err *err);
gf_status gf_cmd_generate(const gf_options *o, gf_err *err);
gf_status gf_cmd_chat(const gf_options *o, gf_err *err);
gf_status gf_cmd_merge(const gf_options *o, gf_err *err);
gf_status gf_cmd_export(const gf_options *o, gf_err *err);
gf_status gf_cmd_convert(const gf_options *o, gf_err *err);
gf_status gf_cmd_tokenize(const gf_options *o, gf_err *err);
gf_status gf_cmd_info(const gf_options *o, gf_err *err);
gf_status gf_cmd_doctor(const gf_options *o, gf_err *err);
gf_status gf_cmd_help(const gf_options *o, gf_err *err);

#endif
