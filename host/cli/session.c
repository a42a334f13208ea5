/* session.c - opening what commands share. Contract: session.h. */
#include "cli/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/machine.h"
#include "model/space.h"

void gf_session_start(gf_session *s, const gf_options *o)
{
    *s = (gf_session){.o = o};
}

void gf_session_close(gf_session *s)
{
    if (s->has_model)
        gf_model_close(&s->model);
    gf_arena_free(&s->arena);
    if (s->has_adapter)
        gf_adapter_free(&s->adapter);
    if (s->has_backend)
        gf_backend_close(&s->backend);
    gf_template_free(s->chat);
    gf_tokenizer_free(s->tokenizer);
    if (s->has_files)
        gf_files_close(&s->files);
    *s = (gf_session){0};
}

gf_status gf_session_files(gf_session *s, gf_err *err)
{
    if (s->has_files)
        return GF_OK;
    TRY(gf_files_open(&s->files, s->o->model, err));
    s->has_files = true;
    return GF_OK;
}

static gf_status open_from_folder(gf_session *s, gf_err *err)
{
    char *path = gf_path_join(s->o->model, "tokenizer.json", err);
    if (!path)
        return GF_ENOMEM;
    const bool there = gf_file_exists(path);
    free(path);
    return there ? gf_tokenizer_open(&s->tokenizer, s->o->model, err) : GF_OK;
}

gf_status gf_session_tokenizer(gf_session *s, bool needed, gf_err *err)
{
    const char *model = s->o->model;
    const bool folder = gf_dir_exists(model);
    if (!s->tokenizer && folder)
        TRY(open_from_folder(s, err));
    if (!s->tokenizer && !folder) {
        TRY(gf_session_files(s, err));
        if (gf_gguf_find(&s->files.gguf, "tokenizer.ggml.model"))
            TRY(gf_tokenizer_open_gguf(&s->tokenizer, &s->files.gguf, err));
    }
    if (s->tokenizer || !needed)
        return GF_OK;
    return gf_fail(err, GF_EINPUT, "%s has no tokenizer (%s); put it beside the model", model,
                   folder ? "tokenizer.json" : "tokenizer.ggml.model");
}

/* *name is where the text comes from. */
static gf_status template_text(gf_session *s, char **text, size_t *size, const char **name,
                               gf_err *err)
{
    *text = NULL;
    if (s->o->chat_template) {
        *name = s->o->chat_template;
        return gf_file_read(*name, text, size, err);
    }
    TRY(gf_session_tokenizer(s, false, err));
    *name = "the model's chat template";
    const char *own = s->tokenizer ? gf_tokenizer_template(s->tokenizer) : NULL;
    if (!own)
        return GF_OK;
    *size = strlen(own);
    *text = gf_strdup(own, err);
    return *text ? GF_OK : GF_ENOMEM;
}

gf_status gf_session_template_text(gf_session *s, char **text, gf_err *err)
{
    const char *name;
    size_t size;
    return template_text(s, text, &size, &name, err);
}

gf_status gf_session_template(gf_session *s, bool needed, gf_err *err)
{
    TRY(gf_session_tokenizer(s, needed, err));
    if (!s->chat) {
        const char *name;
        size_t size = 0;
        char *text = NULL;
        TRY(template_text(s, &text, &size, &name, err));
        const gf_status st = text ? gf_template_parse(&s->chat, text, size, name, err) : GF_OK;
        free(text);
        TRY(st);
    }
    if (s->chat || !needed)
        return GF_OK;
    return gf_fail(err, GF_EINPUT, "%s has no chat template; give one with --chat-template FILE",
                   s->o->model);
}

gf_status gf_session_data_options(gf_session *s, gf_data_options *out, gf_err *err)
{
    const gf_options *o = s->o;
    TRY(gf_session_files(s, err));
    TRY(gf_session_template(s, false, err));
    *out = (gf_data_options){.tokenizer = s->tokenizer,
                             .chat = s->chat,
                             .vocab = s->files.config.V,
                             .format = (gf_data_format)o->data_format,
                             .train_on = (gf_train_on)o->train_on,
                             .overlength = (gf_overlength)o->overlength,
                             .max_length = o->max_length,
                             .alpaca = (gf_alpaca)o->alpaca_prompt};
    return GF_OK;
}

/* This rank's device. A GPU that is there but cannot be used is an error, not a reason for a CPU.
 */
static gf_status open_device(gf_session *s, const gf_cuda_machine *m, gf_err *err)
{
    int device = GF_DEVICE_DRY;
    if (m->devices == 0 && !s->plan)
        return gf_fail(err, GF_EMISSING, "--device cuda: %s", m->why);
    if (m->devices > 0) {
        device = 0;
        if (s->comm)
            TRY(gf_comm_device(s->comm, m->devices, &device, err));
    }
    const gf_status st = gf_backend_open_cuda(&s->backend, device, err);
    return st == GF_ENOMEM ? GF_EFIT : st; /* a device that others fill, or a small one */
}

/* What would be said for nothing. With --device auto they are for the case of a CPU. */
static gf_status refuse_cpu_options(const gf_options *o, gf_err *err)
{
    if (o->given.isa || o->given.threads)
        return gf_fail(err, GF_EARG, "--%s is for a CPU; leave it out with --device cuda",
                       o->given.isa ? "isa" : "threads");
    return GF_OK;
}

gf_status gf_session_backend(gf_session *s, gf_err *err)
{
    char isa[64];
    gf_cuda_machine m = {.devices = 0};
    if (s->has_backend)
        return GF_OK;
    if (s->o->device != GF_DEVICE_CPU)
        gf_cuda_look(&m);
    if (s->o->device == GF_DEVICE_CUDA)
        TRY(refuse_cpu_options(s->o, err));
    if (s->o->device == GF_DEVICE_CUDA || m.devices > 0)
        TRY(open_device(s, &m, err));
    else
        TRY(gf_backend_open_cpu(&s->backend, (int)s->o->threads, gf_option_choice(s->o, "isa", isa),
                                err));
    s->has_backend = true;
    return GF_OK;
}

gf_status gf_session_adapter(gf_session *s, gf_err *err)
{
    if (s->has_adapter || !s->o->adapter)
        return GF_OK;
    TRY(gf_session_files(s, err));
    TRY(gf_adapter_open(&s->adapter, s->o->adapter, &s->files.config, err));
    s->has_adapter = true;
    return GF_OK;
}

gf_dtype gf_session_precision(const gf_session *s)
{
    if (s->o->precision == GF_PRECISION_AUTO)
        return s->backend.cuda ? GF_BF16 : GF_F32;
    return s->o->precision == GF_PRECISION_BF16 ? GF_BF16 : GF_F32;
}

/* Program, libraries, tokenizer and tables: what graft does not take from its arena. Measured as
 * peak memory less the plan, over models from 0.1 to 135 million parameters. */
#define HOST_RESERVE (24ull << 20)
/* A device's: the driver's own, kernels and graphs as they are loaded. Not measured on a GPU yet:
 * a fiftieth of the device, at most what 64 graphs of a large model's pass may take. */
#define DEVICE_RESERVE (256ull << 20)

uint64_t gf_session_reserve(const gf_session *s)
{
    if (!s->backend.cuda)
        return HOST_RESERVE;
    const uint64_t memory = gf_backend_device(&s->backend)->memory, share = memory / 50;
    return memory == 0 || share > DEVICE_RESERVE ? DEVICE_RESERVE : share;
}

uint64_t gf_session_limit(const gf_session *s)
{
    gf_machine machine;
    if (s->o->memory_limit > 0)
        return (uint64_t)s->o->memory_limit;
    if (s->backend.cuda) { /* what the backend holds already is part of every plan */
        const uint64_t left = gf_backend_device(&s->backend)->free_;
        const uint64_t reserve = gf_session_reserve(s);
        return left > reserve ? left - reserve + gf_backend_scratch(&s->backend) : left ? 1 : 0;
    }
    gf_machine_look(&machine);
    return machine.free_;
}

static gf_status read_values(gf_session *s, gf_err *err)
{
    gf_space space;
    gf_status st = gf_space_open(&space, &s->model, false, err);
    if (st == GF_OK)
        st = gf_adapter_read(&s->adapter, space.value, s->o->adapter, err);
    if (st == GF_OK)
        st = gf_space_push(&space, err);
    gf_space_close(&space);
    return st;
}

/* What is left for the model's block: the limit is of what the backend holds, too. */
static uint64_t block_limit(const gf_session *s)
{
    const uint64_t limit = gf_session_limit(s), held = gf_backend_scratch(&s->backend);
    return limit == 0 ? 0 : limit > held ? limit - held : 1;
}

gf_status gf_session_model(gf_session *s, gf_use use, int64_t row_tokens, int64_t cache_tokens,
                           gf_err *err)
{
    if (s->has_model)
        return GF_OK;
    TRY(gf_session_files(s, err));
    TRY(gf_session_adapter(s, err));
    TRY(gf_session_backend(s, err));
    const gf_model_options opt = {.use = use,
                                  .precision = gf_session_precision(s),
                                  .row_tokens = row_tokens,
                                  .cache_tokens = cache_tokens};
    const gf_adapter *adapter = s->has_adapter ? &s->adapter : NULL;
    TRY(gf_model_open(&s->model, &s->files, adapter, &s->backend, &s->arena, &opt, block_limit(s),
                      false, err));
    s->has_model = true;
    return adapter ? read_values(s, err) : GF_OK;
}

/* ---- conversations ----------------------------------------------------------------- */

gf_status gf_session_conversation(cJSON **root, const cJSON **messages, const cJSON **tools,
                                  const char *path, gf_err *err)
{
    *root = NULL;
    *tools = NULL;
    TRY(gf_json_read(root, path, err));
    *messages = *root;
    if (cJSON_IsObject(*root)) {
        *messages = cJSON_GetObjectItemCaseSensitive(*root, "messages");
        *tools = cJSON_GetObjectItemCaseSensitive(*root, "tools");
        if (cJSON_IsNull(*tools))
            *tools = NULL;
    }
    if (!cJSON_IsArray(*messages) || !(*messages)->child)
        return gf_fail(err, GF_EINPUT,
                       "%s: want one conversation: an array of messages, or an object with one "
                       "under \"messages\"",
                       path);
    const cJSON *item;
    cJSON_ArrayForEach(item, *messages) if (!cJSON_IsObject(item)) return gf_fail(
        err, GF_EINPUT, "%s: a message is %s, want an object with a role", path,
        gf_json_kind(item));
    return GF_OK;
}

gf_status gf_session_render(gf_session *s, const cJSON *messages, const cJSON *tools,
                            bool add_generation_prompt, gf_buf *rendered, gf_tokens *ids,
                            gf_err *err)
{
    gf_buf text = {0};
    gf_status st = GF_OK;
    TRY(gf_session_template(s, true, err));
    const gf_tokenizer *t = s->tokenizer;
    const gf_template_vars vars = {
        .messages = messages,
        .tools = tools,
        .bos_token = gf_tokenizer_token(t, gf_tokenizer_bos(t)),
        .eos_token = gf_tokenizer_token(t, gf_tokenizer_eos(t)),
        .pad_token = gf_tokenizer_token(t, gf_tokenizer_pad(t)),
        .unk_token = gf_tokenizer_token(t, gf_tokenizer_unk(t)),
        .add_generation_prompt = add_generation_prompt,
    };
    TRYG(gf_template_render(s->chat, &vars, &text, err));
    TRYG(gf_tokenizer_encode(s->tokenizer, text.data ? text.data : "", text.len, false, ids, err));
    if (rendered)
        TRYG(gf_buf_add(rendered, text.data ? text.data : "", text.len, err));
out:
    gf_buf_free(&text);
    return st;
}
