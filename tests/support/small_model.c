/* small_model.c - see small_model.h. */
#include "support/small_model.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char config[] =
    "{\"bos_token\":\"<|im_start|>\",\"eos_token\":\"<|im_end|>\",\"pad_token\":\"<|pad|>\","
    "\"chat_template\":\"{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + "
    "m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}\"}";

char *small_file(const char *dir, const char *name, const char *text)
{
    char *path;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        abort();
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0) {
        perror(path);
        abort();
    }
    return path;
}

static char *tokenizer(void)
{
    static const char *const special[] = {"<|pad|>", "<|im_start|>", "<|im_end|>"};
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    fputs("{\"version\":\"1.0\",\"added_tokens\":[", f);
    for (int i = 0; i < 3; i++)
        fprintf(f,
                "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                "\"rstrip\":false,\"normalized\":false,\"special\":true}",
                i ? "," : "", i, special[i]);
    fputs(
        "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
        "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\","
        "\"byte_fallback\":false,\"vocab\":{",
        f);
    /* space and newline as the byte-level alphabet writes them, then ! to | */
    fputs("\"<|pad|>\":0,\"<|im_start|>\":1,\"<|im_end|>\":2,\"\u0120\":3,\"\u010a\":4", f);
    for (int c = '!'; c <= '|'; c++)
        fprintf(f, ",\"%s%c\":%d", c == '"' || c == '\\' ? "\\" : "", c, 5 + c - '!');
    fputs("},\"merges\":[]}}", f);
    fclose(f);
    return text;
}

char *small_model(const char *dir)
{
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors"};
    char *model, *from, *to, *text = tokenizer();
    if (asprintf(&model, "%s/small", dir) < 0 || mkdir(model, 0755) != 0)
        abort();
    for (int i = 0; i < 3; i++) {
        if (asprintf(&from, SMALL_CASE "/model/%s", names[i]) < 0 ||
            asprintf(&to, "%s/%s", model, names[i]) < 0 || symlink(from, to) != 0)
            abort();
        free(from);
        free(to);
    }
    free(small_file(model, "tokenizer.json", text));
    free(small_file(model, "tokenizer_config.json", config));
    free(text);
    return model;
}

char *small_tokens(const char *dir, int examples, int stride, int most)
{
    char *path = small_file(dir, "data.jsonl", "");
    FILE *f = fopen(path, "w");
    uint32_t state = 7;
    for (int e = 0; e < examples; e++) {
        const int length = 3 + (e * stride) % most;
        fputs("{\"input_ids\":[", f);
        for (int t = 0; t < length; t++) {
            state = state * 1664525u + 1013904223u;
            fprintf(f, "%s%u", t ? "," : "", 3 + (state >> 8) % 90);
        }
        fputs("]}\n", f);
    }
    fclose(f);
    return path;
}
