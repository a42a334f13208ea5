/* known.c - see known.h. Sizes: each model's config.json on Hugging Face. */
#include "known.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/names.h"

static const char llama[] = "LlamaForCausalLM", qwen2[] = "Qwen2ForCausalLM",
                  qwen3[] = "Qwen3ForCausalLM";

/* clang-format off */
const bench_known bench_known_models[] = {
    /* name          type     class   L   D     H   G   K    F      V       theta  positions tied bias */
    {"SmolLM2-135M", "llama", llama,  30, 576,  9,  3,  64,  1536,  49152,  1e5,   8192,   true,  false},
    {"Llama-3-8B",   "llama", llama,  32, 4096, 32, 8,  128, 14336, 128256, 5e5,   8192,   false, false},
    {"Llama-2-7B",   "llama", llama,  32, 4096, 32, 32, 128, 11008, 32000,  1e4,   4096,   false, false},
    {"Qwen2.5-7B",   "qwen2", qwen2,  28, 3584, 28, 4,  128, 18944, 152064, 1e6,   131072, false, true},
    {"Qwen3-8B",     "qwen3", qwen3,  36, 4096, 32, 8,  128, 12288, 151936, 1e6,   40960,  false, false},
    {"Llama-3-70B",  "llama", llama,  80, 8192, 64, 8,  128, 28672, 128256, 5e5,   8192,   false, false},
};
/* clang-format on */
const int bench_known_count = sizeof bench_known_models / sizeof *bench_known_models;

const bench_known *bench_find_known(const char *name)
{
    for (int i = 0; i < bench_known_count; i++)
        if (strcmp(bench_known_models[i].name, name) == 0)
            return &bench_known_models[i];
    return NULL;
}

static gf_status write_config(const bench_known *m, const char *path, gf_err *err)
{
    FILE *f = fopen(path, "w");
    if (f)
        fprintf(
            f,
            "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"vocab_size\":%lld,"
            "\"hidden_size\":%lld,\"intermediate_size\":%lld,\"num_hidden_layers\":%lld,"
            "\"num_attention_heads\":%lld,\"num_key_value_heads\":%lld,\"head_dim\":%lld,"
            "\"max_position_embeddings\":%lld,\"rope_theta\":%.1f,\"rms_norm_eps\":1e-05,"
            "\"hidden_act\":\"silu\",\"tie_word_embeddings\":%s,\"torch_dtype\":\"bfloat16\"}\n",
            m->architecture, m->type, (long long)m->V, (long long)m->D, (long long)m->F,
            (long long)m->L, (long long)m->H, (long long)m->G, (long long)m->K,
            (long long)m->max_position, m->theta, m->tied ? "true" : "false");
    if (!f || fclose(f) != 0)
        return gf_fail(err, GF_EIO, "%s: cannot write it", path);
    return GF_OK;
}

/* The header of a safetensors file (8 bytes of length, JSON), then a hole as large as the data. */
static gf_status write_tensors(const gf_config *c, const char *path, gf_err *err)
{
    char *text = NULL;
    size_t size = 0;
    int64_t at = 0;
    FILE *json = open_memstream(&text, &size);
    if (!json)
        return gf_fail(err, GF_ENOMEM, "no memory for the header of %s", path);
    for (int64_t i = 0; i < gf_names_count(c); i++) {
        gf_name n;
        gf_names_get(&n, c, i);
        const int64_t end = at + 2 * n.dim[0] * (n.rank == 2 ? n.dim[1] : 1);
        fprintf(json, "%c\"%s\":{\"dtype\":\"BF16\",\"shape\":[%lld", i ? ',' : '{', n.name,
                (long long)n.dim[0]);
        if (n.rank == 2)
            fprintf(json, ",%lld", (long long)n.dim[1]);
        fprintf(json, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)end);
        at = end;
    }
    fputc('}', json);
    fclose(json);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(size >> (8 * i));
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(length, 1, 8, f) == 8 && fwrite(text, 1, size, f) == size &&
              fflush(f) == 0 && ftruncate(fileno(f), (off_t)(8 + (int64_t)size + at)) == 0;
    if (f && fclose(f) != 0)
        ok = false;
    free(text);
    return ok ? GF_OK : gf_fail(err, GF_EIO, "%s: cannot write it", path);
}

gf_status bench_known_write(const bench_known *m, const char *dir, gf_err *err)
{
    gf_config c = {0};
    gf_status st = GF_OK;
    char *config = gf_format(err, "%s/config.json", dir);
    char *tensors = gf_format(err, "%s/model.safetensors", dir);
    if (!config || !tensors)
        st = GF_ENOMEM;
    else if (mkdir(dir, 0755) != 0)
        st = gf_fail(err, GF_EIO, "%s: cannot make this folder", dir);
    TRYG(st);
    TRYG(write_config(m, config, err));
    TRYG(gf_config_read(&c, dir, err));
    TRYG(write_tensors(&c, tensors, err));
out:
    gf_config_free(&c);
    free(config);
    free(tensors);
    return st;
}

void bench_known_remove(const char *dir)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        char *path = gf_format(NULL, "%s/%s", dir, names[i]);
        if (path)
            unlink(path);
        free(path);
    }
    rmdir(dir);
}
