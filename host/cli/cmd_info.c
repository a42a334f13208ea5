/* cmd_info.c - `graft info`: what is in a model, an adapter or a checkpoint; what this
 * machine has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/describe.h"

static bool holds(const char *dir, const char *name)
{
    char *path = gf_path_join(dir, name, NULL);
    const bool there = path && gf_file_exists(path);
    free(path);
    return there;
}

/* Looks at what PATH is and puts it where the options would have it. */
static gf_status place_path(gf_options *o, const char **checkpoint, gf_err *err)
{
    const char *path = o->path;
    const bool adapter = holds(path, "adapter_config.json");
    if (!gf_dir_exists(path) && !gf_file_exists(path))
        return gf_fail(err, GF_EINPUT, "%s: there is no such file or folder", path);
    if (holds(path, "state.json"))
        *checkpoint = path;
    if (adapter) {
        if (o->adapter)
            return gf_fail(err, GF_EARG, "%s is an adapter, and --adapter names another", path);
        o->adapter = o->path;
    } else if (gf_file_exists(path) || holds(path, "config.json")) {
        if (o->model)
            return gf_fail(err, GF_EARG, "%s is a model, and --model names another", path);
        o->model = o->path;
    } else if (!*checkpoint) {
        return gf_fail(err, GF_EINPUT,
                       "%s is no model (config.json), adapter (adapter_config.json) or checkpoint "
                       "(state.json)",
                       path);
    }
    return GF_OK;
}

gf_status gf_cmd_info(const gf_options *given, gf_err *err)
{
    gf_options o = *given; /* shallow: `given` owns the strings */
    const char *checkpoint = NULL;
    gf_session s;
    gf_buf out = {0};
    gf_status st = GF_OK;
    if (!o.path && !o.model && !o.adapter && !o.device_)
        return gf_fail(err, GF_EARG,
                       "info wants a model, adapter or checkpoint to describe, or --device");
    gf_session_start(&s, &o);
    if (o.path)
        TRYG(place_path(&o, &checkpoint, err));
    if (checkpoint)
        TRYG(gf_describe_checkpoint(checkpoint, &out, err));
    if (o.model && o.model == o.path)
        st = gf_describe_gguf_adapter(o.model, &out, err);
    else if (o.model)
        st = GF_EMISSING;
    if (st == GF_EMISSING) /* no adapter */
        st = gf_describe_model(&s, &out, err);
    if (st != GF_OK)
        goto out;
    if (o.adapter)
        TRYG(gf_describe_adapter(&s, o.adapter, &out, err));
    if (o.device_)
        TRYG(gf_describe_machine(&out, err));
out:
    if (st == GF_OK)
        fwrite(out.data ? out.data : "", 1, out.len, stdout);
    gf_buf_free(&out);
    gf_session_close(&s);
    return st;
}
