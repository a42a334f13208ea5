/* manual.h - the option table as man pages, as a chapter of docs/ and as completion for shells. */
#ifndef GRAFT_HOST_CLI_MANUAL_H
#define GRAFT_HOST_CLI_MANUAL_H

#include "cli/options.h"

/* graft-COMMAND(1) as roff (man(7)); GF_COMMANDS: graft(1), which names all commands. Appends. */
gf_status gf_manual_page(gf_buf *out, gf_command c, gf_err *err);

/* Every command with a table of its options as Markdown, or one of them alone. Appends. */
gf_status gf_manual_chapter(gf_buf *out, gf_command c, gf_err *err);

/* Completion of commands, options, choices and paths. Appends. */
gf_status gf_completion_bash(gf_buf *out, gf_err *err);
gf_status gf_completion_zsh(gf_buf *out, gf_err *err);

#endif
