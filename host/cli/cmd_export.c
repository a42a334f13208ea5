/* cmd_export.c - graft export: an adapter as the files that other programs load. */
#include "cli/commands.h"

#include "base/json.h"
#include "cli/modelfile.h"
#include "cli/session.h"
#include "model/deploy.h"
#include "model/export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GGUF, GGLA, BIN, OLLAMA, FORMATS };
static const struct {
    const char *name, *file; /* file: in a folder */
    bool alone;              /* may be one file, named by --output */
    bool base;               /* needs to know the base model */
    gf_deploy reader;
} formats[FORMATS] = {
    [GGUF] = {"gguf", "adapter.gguf", true, true, GF_DEPLOY_LLAMA_CPP},
    /* llama.cpp's own name for it */
    [GGLA] = {"ggla", "ggml-adapter-model.bin", true, true, GF_DEPLOY_LLAMA_CPP},
    [BIN] = {"bin", "adapter_model.bin", false, false, GF_DEPLOY_PEFT},
    /* and the GGUF adapter */
    [OLLAMA] = {"ollama", "Modelfile", false, true, GF_DEPLOY_OLLAMA},
};

typedef struct {
    gf_options o; /* shallow, with the base in `model` wherever it was found */
    bool wanted[FORMATS];
    bool folder; /* --output is one */
    gf_peft_config peft;
    char *config; /* path of adapter_config.json */
    cJSON *run;   /* run.json beside it, or NULL */
    gf_session session;
    gf_config from_folder; /* of a base that is a folder; its weights need not be there */
    const gf_config *base; /* NULL: none known */
    char *arch;            /* of a base that is a GGUF */
    gf_adapter adapter;
    gf_adapter_file file;
    gf_buf modelfile;
    gf_err *err;
} job;

/* ---- what is wanted --------------------------------------------------------------------- */

static gf_status read_formats(job *j)
{
    for (const char *at = j->o.format;; at++) {
        const size_t n = strcspn(at, ",");
        int f = 0;
        while (f < FORMATS && (strlen(formats[f].name) != n || memcmp(at, formats[f].name, n)))
            f++;
        if (f == FORMATS)
            return gf_fail(j->err, GF_EARG,
                           "--format %s: want gguf, ggla, bin, ollama or several of them as a list",
                           j->o.format);
        if (j->wanted[f])
            return gf_fail(j->err, GF_EARG, "--format %s: %s stands there twice", j->o.format,
                           formats[f].name);
        j->wanted[f] = true;
        j->folder = j->folder || !formats[f].alone || at != j->o.format || at[n];
        at += n;
        if (!*at)
            break;
    }
    j->wanted[GGUF] = j->wanted[GGUF] || j->wanted[OLLAMA];
    return GF_OK;
}

/* f32 unless another type is asked for, which only a GGUF has. */
static gf_status read_dtype(const job *j, gf_dtype *out)
{
    char text[64];
    const char *name = gf_option_choice(&j->o, "dtype", text);
    *out = GF_F32;
    if (!j->o.given.dtype || !strcmp(name, "base"))
        return GF_OK;
    if (!j->wanted[GGUF])
        return gf_fail(j->err, GF_EARG,
                       "--dtype is for --format gguf; the other files are f32, "
                       "or as the adapter is");
    for (gf_dtype t = GF_F32; t < GF_DTYPES; t = (gf_dtype)(t + 1))
        if (!strcmp(gf_dtype_name(t), name) && (t <= GF_BF16 || t == GF_Q8_0)) {
            *out = t;
            return GF_OK;
        }
    return gf_fail(j->err, GF_EARG, "--dtype %s: an adapter can be f32, f16, bf16 or q8_0", name);
}

static gf_status check_output(const job *j)
{
    const char *path = j->o.output;
    bool empty = false;
    if (j->folder && !gf_file_exists(path)) {
        TRY(gf_dir_is_empty(path, &empty, j->err));
        return empty ? GF_OK
                     : gf_fail(j->err, GF_EARG,
                               "%s: is not empty; an export goes into a new or empty folder", path);
    }
    if (gf_file_exists(path) || gf_dir_exists(path))
        return gf_fail(j->err, GF_EARG, "%s: is there already; export writes a new %s", path,
                       j->folder ? "folder" : "file");
    const size_t parent = (size_t)(gf_path_name(path) - path);
    char *dir = parent ? gf_strndup(path, parent, j->err) : gf_strdup(".", j->err);
    gf_status st = dir ? GF_OK : GF_ENOMEM;
    if (dir && !gf_dir_exists(dir))
        st = gf_fail(j->err, GF_EARG, "%s: there is no folder %s to write it into", path, dir);
    free(dir);
    return st;
}

/* ---- what is there ---------------------------------------------------------------------- */

static bool is_there(const char *path)
{
    return path && (gf_dir_exists(path) || gf_file_exists(path));
}

static gf_status read_run(job *j)
{
    char *path = gf_path_join(j->o.adapter, "run.json", j->err);
    if (!path)
        return GF_ENOMEM;
    const gf_status st = gf_file_exists(path) ? gf_json_read(&j->run, path, j->err) : GF_OK;
    free(path);
    return st;
}

/* The base: --model, or what the adapter says it was trained on, if that is here. */
static void find_base(job *j)
{
    const cJSON *options = cJSON_GetObjectItemCaseSensitive(j->run, "options");
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(options, "model");
    if (j->o.model)
        return;
    if (is_there(j->peft.base_model))
        j->o.model = j->peft.base_model;
    else if (cJSON_IsString(model) && is_there(model->valuestring))
        j->o.model = model->valuestring;
}

static gf_status open_base(job *j)
{
    if (gf_dir_exists(j->o.model)) {
        TRY(gf_config_read(&j->from_folder, j->o.model, j->err));
        j->base = &j->from_folder;
        return GF_OK;
    }
    TRY(gf_session_files(&j->session, j->err));
    j->base = &j->session.files.config;
    return gf_gguf_string(&j->arch, &j->session.files.gguf, "general.architecture", j->err);
}

/* The programs that the files are for. */
static unsigned readers(const job *j)
{
    unsigned out = 0;
    for (int f = 0; f < FORMATS; f++)
        out |= j->wanted[f] ? 1u << formats[f].reader : 0;
    return out;
}

static gf_status open_all(job *j)
{
    bool needed = false;
    for (int f = 0; f < FORMATS; f++)
        needed = needed || (j->wanted[f] && formats[f].base);
    j->config = gf_path_join(j->o.adapter, "adapter_config.json", j->err);
    if (!j->config)
        return GF_ENOMEM;
    TRY(gf_peft_read_config(&j->peft, j->config, j->err));
    TRY(read_run(j));
    if (needed)
        find_base(j);
    if (needed && !j->o.model)
        return gf_fail(j->err, GF_EARG,
                       "%s: does not say where its base model is; name it with --model", j->config);
    if (!j->o.model)
        return GF_OK;
    TRY(open_base(j));
    TRY(gf_adapter_open(&j->adapter, j->o.adapter, j->base, j->err));
    TRY(gf_deploy_check(readers(j), &j->adapter, j->base, true, j->config, j->err));
    return gf_adapter_file_open(&j->file, &j->adapter, j->o.adapter, j->err);
}

/* The tokenizer and the template are the adapter's, which has those that it was trained with, or
 * the base's. */
static gf_status prepare_modelfile(job *j)
{
    gf_session tokens;
    gf_buf said = {0};
    gf_options o = j->o; /* shallow */
    gf_status st = GF_OK;
    char *own = gf_path_join(j->o.adapter, "tokenizer.json", j->err);
    if (!own)
        return GF_ENOMEM;
    if (gf_file_exists(own))
        o.model = o.adapter;
    free(own);
    gf_session_start(&tokens, &o);
    const gf_modelfile m = {.session = &tokens,
                            .base = j->base,
                            .base_path = j->o.model,
                            .base_is_gguf = j->arch != NULL,
                            .adapter = j->o.adapter,
                            .gguf = formats[GGUF].file,
                            .run = j->run};
    TRYG(gf_modelfile_text(&m, &j->modelfile, &said, j->err));
    for (char *line = said.data; line && *line;) {
        char *end = strchr(line, '\n');
        *end = '\0';
        fprintf(stderr, "graft: %s\n", line);
        line = end + 1;
    }
out:
    gf_buf_free(&said);
    gf_session_close(&tokens);
    return st;
}

/* ---- writing ---------------------------------------------------------------------------- */

static void say(const char *path, const char *what, const gf_export_note *n)
{
    fprintf(stderr, "graft: %s: %s, %d modules, alpha %.9g", path, what, n->modules, n->alpha);
    if (n->permuted)
        fprintf(stderr, ", q and k of %d in GGUF's row order", n->permuted);
    if (n->folded)
        fprintf(stderr, "; their scale differs: B of %d multiplied", n->folded);
    if (n->other)
        fprintf(stderr, "; %d matrices as f16, blocks do not divide their rows", n->other);
    fputc('\n', stderr);
}

/* A base without a name is called by its file's. */
static const char *adapter_name(const job *j)
{
    const char *path = j->o.adapter, *name = gf_path_name(path);
    return *name ? name : path;
}

static gf_status write_bin(const job *j, const char *path, const char *shown)
{
    char *text = NULL, *to = NULL;
    size_t size;
    gf_status st = GF_OK;
    const char *name = gf_path_name(path);
    char *dir = gf_strndup(path, (size_t)(name - path), j->err);
    TRYG(dir ? GF_OK : GF_ENOMEM);
    to = gf_path_join(dir, "adapter_config.json", j->err);
    TRYG(to ? GF_OK : GF_ENOMEM);
    TRYG(gf_file_read(j->config, &text, &size, j->err));
    TRYG(gf_export_bin(j->o.adapter, path, j->err));
    TRYG(gf_file_write(to, text, size, j->err));
    fprintf(stderr, "graft: %s: PyTorch's format, with adapter_config.json\n", shown);
out:
    free(text);
    free(to);
    free(dir);
    return st;
}

/* `shown`: where the file will be in the end. */
static gf_status write_format(const job *j, int f, gf_dtype dtype, const char *path,
                              const char *shown)
{
    const gf_export x = {.base = j->base,
                         .arch = j->arch,
                         .name = adapter_name(j),
                         .adapter = &j->adapter,
                         .file = &j->file};
    gf_export_note note;
    if (f == BIN)
        return write_bin(j, path, shown);
    if (f == GGLA) {
        TRY(gf_export_ggla(&x, path, &note, j->err));
        say(shown, "legacy ggla adapter", &note);
        return GF_OK;
    }
    if (f == OLLAMA) {
        TRY(gf_file_write(path, j->modelfile.data, j->modelfile.len, j->err));
        fprintf(stderr, "graft: %s: ollama create my-model -f %s\n", shown, shown);
        return GF_OK;
    }
    TRY(gf_export_gguf(&x, path, dtype, &note, j->err));
    say(shown, "GGUF adapter", &note);
    return GF_OK;
}

static gf_status write_into(const job *j, gf_dtype dtype, const char *dir)
{
    gf_status st = GF_OK;
    for (int f = 0; st == GF_OK && f < FORMATS; f++) {
        if (!j->wanted[f])
            continue;
        char *path = gf_path_join(dir, formats[f].file, j->err);
        char *shown = gf_path_join(j->o.output, formats[f].file, j->err);
        st = path && shown ? write_format(j, f, dtype, path, shown) : GF_ENOMEM;
        free(path);
        free(shown);
    }
    return st;
}

/* A folder appears as a whole: made under another name, then renamed. */
static gf_status write_folder(const job *j, gf_dtype dtype)
{
    gf_status st = GF_OK;
    char *path = gf_strdup(j->o.output, j->err), *tmp = NULL;
    if (!path)
        return GF_ENOMEM;
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    tmp = gf_format(j->err, "%s.tmp-%ld", path, (long)getpid());
    TRYG(tmp ? GF_OK : GF_ENOMEM);
    TRYG(gf_dir_remove(tmp, j->err)); /* of a killed process with this pid */
    TRYG(gf_dir_make(tmp, j->err));
    TRYG(write_into(j, dtype, tmp));
    TRYG(gf_dir_sync(tmp, j->err));
    if (rename(tmp, path))
        st = gf_fail(j->err, GF_EIO, "%s: %s", path, strerror(errno));
out:
    if (st != GF_OK && tmp)
        gf_dir_remove(tmp, NULL);
    free(tmp);
    free(path);
    return st;
}

static gf_status write_file(const job *j, gf_dtype dtype)
{
    for (int f = 0; f < FORMATS; f++)
        if (j->wanted[f])
            return write_format(j, f, dtype, j->o.output, j->o.output);
    return GF_OK;
}

gf_status gf_cmd_export(const gf_options *given, gf_err *err)
{
    job j = {.o = *given, .err = err};
    gf_dtype dtype;
    gf_status st = GF_OK;
    gf_session_start(&j.session, &j.o);
    TRYG(read_formats(&j));
    TRYG(read_dtype(&j, &dtype));
    TRYG(check_output(&j));
    TRYG(open_all(&j));
    if (j.wanted[OLLAMA])
        TRYG(prepare_modelfile(&j));
    TRYG(j.folder ? write_folder(&j, dtype) : write_file(&j, dtype));
out:
    if (j.file.source.file || j.file.entry)
        gf_adapter_file_close(&j.file);
    gf_adapter_free(&j.adapter);
    gf_config_free(&j.from_folder);
    gf_session_close(&j.session);
    gf_peft_config_free(&j.peft);
    gf_buf_free(&j.modelfile);
    cJSON_Delete(j.run);
    free(j.config);
    free(j.arch);
    return st;
}
