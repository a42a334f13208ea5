/* cmd_convert.c - graft convert: a model -> a folder of safetensors or a GGUF file. */
#include "cli/commands.h"

#include "cli/write_model.h"

gf_status gf_cmd_convert(const gf_options *o, gf_err *err)
{
    return gf_write_model(o, NULL, 0, err);
}
