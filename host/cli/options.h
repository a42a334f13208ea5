/* options.h - the command line: one table (options.def) makes the fields, the parser, --help, the
 * keys of --config and the record of a run. */
#ifndef GRAFT_HOST_CLI_OPTIONS_H
#define GRAFT_HOST_CLI_OPTIONS_H

#include "graft/base.h"
#include "model/adapter.h"
#include "train/schedule.h"

/* X(name, in this version, one line of help) */
#define GF_COMMAND_LIST(X)                                                                         \
    X(data, true, "read a data set as training would, and report on it")                           \
    X(plan, true, "what train would need with the same options: memory, work, time")               \
    X(train, true, "train an adapter")                                                             \
    X(eval, true, "loss, perplexity and accuracy of a model, with or without an adapter")          \
    X(generate, true, "complete a prompt or a conversation")                                       \
    X(chat, true, "talk to a model")                                                               \
    X(merge, true, "base + adapters -> a model of its own")                                        \
    X(export, true, "adapter -> GGUF adapter, Ollama folder, ...")                                 \
    X(convert, true, "model -> safetensors folder or GGUF")                                        \
    X(tokenize, true, "text or a conversation -> token ids")                                       \
    X(info, true, "what is in a model, an adapter or a checkpoint; what this machine has")         \
    X(sweep, false, "many adapters in one pass")                                                   \
    X(verify, false, "replay a run's step and compare the bits")                                   \
    X(doctor, true, "what is missing here")                                                        \
    X(help, true, "these texts, man pages, and completion for shells")

typedef enum {
#define X(name, here, help) GF_CMD_##name,
    GF_COMMAND_LIST(X)
#undef X
        GF_COMMANDS
} gf_command;

/* Choices are stored as their number in options.def's list. data_format, train_on,
 * overlength, alpaca_prompt, init_lora_weights and lr_scheduler_type have the numbers of
 * gf_data_format, gf_train_on, gf_overlength, gf_init and gf_lr_type; the others these. */
typedef enum {
    GF_DTYPE_BASE,
    GF_DTYPE_F32,
    GF_DTYPE_F16,
    GF_DTYPE_BF16,
    GF_DTYPE_Q8_0,
    GF_DTYPE_Q4_0,
    GF_DTYPE_Q4_K
} gf_opt_dtype;
typedef enum { GF_PRECISION_AUTO, GF_PRECISION_FP32, GF_PRECISION_BF16 } gf_opt_precision;
typedef enum { GF_CKPT_AUTO, GF_CKPT_CHEAP } gf_opt_checkpointing;
typedef enum { GF_DEVICE_AUTO, GF_DEVICE_CPU, GF_DEVICE_CUDA } gf_opt_device;
typedef enum { GF_HELP_TEXT, GF_HELP_MAN, GF_HELP_MARKDOWN, GF_HELP_BASH, GF_HELP_ZSH } gf_opt_help;
typedef enum { GF_COLOR_AUTO, GF_COLOR_ALWAYS, GF_COLOR_NEVER } gf_opt_color;
typedef enum { GF_ISA_AUTO, GF_ISA_AVX512, GF_ISA_AVX2, GF_ISA_PLAIN } gf_opt_isa;

typedef struct {
    char **item;
    int count;
} gf_strings;

#define GF_FIELD_PATH char *
#define GF_FIELD_TEXT char *
#define GF_FIELD_INT int64_t
#define GF_FIELD_REAL double
#define GF_FIELD_SIZE int64_t
#define GF_FIELD_FLAG bool
#define GF_FIELD_CHOICE int
#define GF_FIELD_LIST gf_strings
#define GF_FIELD_RESUME char * /* the checkpoint; NULL with given.resume: the last one */

/* Every option as resolved. A field without value and default is NULL or 0; "auto" is 0. Options
 * that the command does not take have their defaults. Zero-initialise, free
 * with gf_options_free. */
typedef struct {
    gf_command command;
    bool help;    /* -h or --help was given: nothing else is checked */
    bool version; /* --version */
#define X(kind, field, commands, required, preset, range, notes, help_text) GF_FIELD_##kind field;
#include "cli/options.def"
#undef X
    struct { /* on the command line or in --config, not by default */
#define X(kind, field, commands, required, preset, range, notes, help_text) bool field;
#include "cli/options.def"
#undef X
    } given;
    bool no_command; /* with help: `graft --help` */
} gf_options;

/* argv[0] is the program, argv[1] the command. GF_EARG: unknown command, option or key (with the
 * nearest one), a value out of range, a required one missing, two that exclude each other, several
 * ranks of a command that is for one.
 * GF_EMISSING: a command, option or choice that is not in this version. GF_EINPUT: --config is
 * unreadable. */
gf_status gf_options_parse(gf_options *o, int argc, char *const argv[], gf_err *err);
void gf_options_free(gf_options *o);

/* The text of `graft COMMAND --help`; of `graft --help` if o->no_command. Appends to `out`. */
gf_status gf_options_help(const gf_options *o, gf_buf *out, gf_err *err);

/* Appends a JSON object of every option that the command takes, as resolved: choices as text,
 * "auto" as text, null where there is none, the keys in the table's order with underscores. */
gf_status gf_options_json(const gf_options *o, gf_buf *out, gf_err *err);

/* May an option (name with underscores) differ between a run and its --resume? */
bool gf_option_is_free(const char *name);

/* Copies the text of a choice as resolved to `out` and returns it; NULL: `name` is no choice. */
const char *gf_option_choice(const gf_options *o, const char *name, char out[64]);

#endif
