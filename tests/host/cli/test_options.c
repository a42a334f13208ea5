/* test_options.c - the option table: defaults, ranges, nearest names, --config, answers to what is
 * not in this version. */
#include "cli/options.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/option_table.h"

enum { MOST_WORDS = 40 };

/* Parses "graft " + words split at spaces. */
static gf_status parse(gf_options *o, const char *words, gf_err *err)
{
    static char text[2048];
    char *argv[MOST_WORDS] = {"graft"};
    int argc = 1;
    gf_options_free(o);
    *err = (gf_err){0};
    snprintf(text, sizeof text, "%s", words);
    for (char *w = strtok(text, " "); w && argc < MOST_WORDS; w = strtok(NULL, " "))
        argv[argc++] = w;
    return gf_options_parse(o, argc, argv, err);
}

static void expect(const char *words, gf_status status, const char *part)
{
    gf_options o = {0};
    gf_err err;
    const gf_status st = parse(&o, words, &err);
    cr_expect(st == status, "graft %s: status %d, want %d: %s", words, st, status, err.text);
    cr_expect(strstr(err.text, part), "graft %s: \"%s\" has no \"%s\"", words, err.text, part);
    cr_expect(!strchr(err.text, '\n'), "graft %s: more than one line", words);
    gf_options_free(&o);
}

#define TRAIN "train --model M --data d.jsonl --output-dir out "

Test(options, the_defaults_of_train_are_those_of_the_contract)
{
    gf_options o = {0};
    gf_err err;
    cr_assert(parse(&o, TRAIN, &err) == GF_OK, "%s", err.text);
    cr_expect_str_eq(o.model, "M");
    cr_expect(o.data.count == 1 && !strcmp(o.data.item[0], "d.jsonl"));
    cr_expect(o.max_length == 2048 && o.batch_size == 8 && o.num_train_epochs == 1);
    cr_expect(o.lora_r == 16 && o.lora_alpha == 32 && o.lora_dropout == 0 && o.seed == 42);
    cr_expect(o.learning_rate == 2e-4 && o.adam_beta1 == .9 && o.adam_beta2 == .999);
    cr_expect(o.adam_epsilon == 1e-8 && o.max_grad_norm == 1.0 && o.weight_decay == 0);
    cr_expect(o.row_tokens == 0 && o.threads == 0 && o.memory_limit == 0 && o.max_steps == 0);
    cr_expect(o.save_total_limit == 2 && o.logging_steps == 1 && !o.no_shuffle);
    cr_expect_str_eq(o.target_modules, "all-linear");
    cr_expect(!o.given.lora_r && o.given.model && !o.given.resume && !o.resume);
    gf_options_free(&o);
}

Test(options, choices_have_the_numbers_that_their_enums_have)
{
    static const struct {
        const char *name;
        int number;
        const char *text;
    } cases[] = {
        {"dtype", GF_DTYPE_BASE, "base"},
        {"dtype", GF_DTYPE_BF16, "bf16"},
        {"init_lora_weights", GF_INIT_GAUSSIAN, "gaussian"},
        {"init_lora_weights", GF_INIT_OLORA, "olora"},
        {"lr_scheduler_type", GF_LR_COSINE, "cosine"},
        {"lr_scheduler_type", GF_LR_CONSTANT, "constant"},
        {"lr_scheduler_type", GF_LR_CONSTANT_WARMUP, "constant_with_warmup"},
        {"lr_scheduler_type", GF_LR_COSINE_WARMUP_MIN, "cosine_warmup_with_min_lr"},
        {"lr_scheduler_type", GF_LR_GREEDY, "greedy"},
        {"precision", GF_PRECISION_FP32, "fp32"},
        {"precision", GF_PRECISION_BF16, "bf16"},
        {"gradient_checkpointing", GF_CKPT_CHEAP, "cheap"},
        {"device", GF_DEVICE_CPU, "cpu"},
        {"isa", GF_ISA_AVX512, "avx512"},
        {"isa", GF_ISA_PLAIN, "plain"},
        /* gf_data_format, gf_train_on, gf_overlength of text/dataset.h */
        {"data_format", 1, "messages"},
        {"data_format", 2, "guanaco"},
        {"data_format", 3, "text"},
        {"data_format", 4, "tokens"},
        {"train_on", 1, "assistant"},
        {"train_on", 2, "completion"},
        {"train_on", 3, "all"},
        {"overlength", 1, "truncate"},
        {"overlength", 2, "drop"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const gf_option *p = gf_option_anywhere(cases[i].name, strlen(cases[i].name));
        char text[64];
        bool here = false;
        cr_assert(p && gf_option_choice_at(p->range, cases[i].number, text, &here));
        cr_expect(here && !strcmp(text, cases[i].text), "%s %d is %s", cases[i].name,
                  cases[i].number, text);
    }
}

Test(options, values_are_read_in_every_spelling)
{
    gf_options o = {0};
    gf_err err;
    cr_assert(parse(&o,
                    TRAIN "--learning_rate 1e-3 --lora-r=4 --no-shuffle --use_rslora True "
                          "--num-train-epochs 3.0 --memory-limit 4G --row-tokens auto "
                          "--lr-scheduler-type constant-with-warmup --resume --seed "
                          "9223372036854775807 --data e.jsonl --rank-pattern {\"q\":8}",
                    &err) == GF_OK,
              "%s", err.text);
    cr_expect(o.learning_rate == 1e-3 && o.lora_r == 4 && o.no_shuffle && o.use_rslora);
    cr_expect(o.num_train_epochs == 3 && o.memory_limit == 4LL << 30 && o.row_tokens == 0);
    cr_expect(o.lr_scheduler_type == GF_LR_CONSTANT_WARMUP && o.given.resume && !o.resume);
    cr_expect(o.seed == INT64_MAX && o.data.count == 2);
    cr_expect_str_eq(o.rank_pattern, "{\"q\":8}");
    cr_assert(parse(&o, TRAIN "--resume out/checkpoint-3 --memory-limit 123456", &err) == GF_OK);
    cr_expect_str_eq(o.resume, "out/checkpoint-3");
    cr_expect(o.memory_limit == 123456);
    cr_assert(parse(&o, "tokenize --model M -- --text", &err) == GF_OK, "%s", err.text);
    cr_expect_str_eq(o.text, "--text");
    cr_assert(parse(&o, "info --device", &err) == GF_OK && o.device_);
    gf_options_free(&o);
}

Test(options, what_is_out_of_range_is_refused_by_name)
{
    static const char *const bad[][2] = {
        {"--lora-r 0", "--lora-r"},
        {"--lora-r 2.5", "whole number"},
        {"--lora-r 0x10", "whole number"},
        {"--lora-r 99999999999999999999", "--lora-r"},
        {"--learning-rate 0", "--learning-rate"},
        {"--learning-rate -1", "--learning-rate"},
        {"--learning-rate nan", "--learning-rate"},
        {"--learning-rate inf", "--learning-rate"},
        {"--learning-rate 1e-3x", "--learning-rate"},
        {"--lora-dropout 1", "[0,1)"},
        {"--adam-beta2 1", "[0,1)"},
        {"--batch-size -8", "--batch-size"},
        {"--max-length 1", "--max-length"},
        {"--memory-limit 4X", "bytes"},
        {"--memory-limit 0", "--memory-limit"},
        {"--threads 0", "auto"},
        {"--overlength cut", "error, truncate, drop"},
        {"--no-shuffle=maybe", "maybe"},
        {"--model=", "empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char words[256];
        snprintf(words, sizeof words, TRAIN "%s", bad[i][0]);
        expect(words, GF_EARG, bad[i][1]);
    }
}

Test(options, what_is_unknown_gets_the_nearest_name)
{
    expect("trian", GF_EARG, "train");
    expect(TRAIN "--learning-rte 1", GF_EARG, "--learning-rate");
    expect(TRAIN "--epochs 1", GF_EARG, "--num-train-epochs");
    expect(TRAIN "--model-name-or-path x", GF_EARG, "--model ");
    expect(TRAIN "--prompt x", GF_EARG, "generate");
    expect(TRAIN "word", GF_EARG, "word");
    expect(TRAIN "-x", GF_EARG, "-x");
    expect("", GF_EARG, "command");
    expect(TRAIN "--seed", GF_EARG, "--seed wants a value");
    expect("eval --model --data x", GF_EARG, "--model wants a value");
}

Test(options, what_is_missing_or_contradicts_is_named)
{
    expect("train", GF_EARG, "--model, --data, --output-dir");
    expect("merge --model M --output-dir o", GF_EARG, "--adapter");
    expect("merge --model M --adapter A", GF_EARG, "--output-dir or --output");
    expect("convert --model M --output-dir o --output o.gguf", GF_EARG, "exclude");
    expect("generate --model M", GF_EARG, "--prompt or --messages");
    expect("generate --model M --prompt a --messages b", GF_EARG, "exclude");
    expect(TRAIN "--max-steps 3 --num-train-epochs 2", GF_EARG, "exclude");
    expect(TRAIN "--warmup-steps 3 --warmup-ratio 0.1", GF_EARG, "exclude");
    expect(TRAIN "--eval-data e --eval-split 0.1", GF_EARG, "exclude");
}

Test(options, micro_batches_are_answered_with_the_batch_size)
{
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("PMI_SIZE");
    unsetenv("RANK");
    expect(TRAIN "--per_device_train_batch_size 4 --gradient_accumulation_steps 8", GF_EARG,
           "--batch-size 32");
    expect(TRAIN "--gradient-accumulation-steps 2", GF_EARG, "--batch-size 16");
    setenv("OMPI_COMM_WORLD_SIZE", "3", 1);
    expect(TRAIN "--per_device_train_batch_size 4", GF_EARG, "--batch-size 12");
    expect(TRAIN "--per_device_train_batch_size 4 --world-size 5", GF_EARG, "--batch-size 20");
}

Test(options, only_train_and_eval_are_for_several_ranks)
{
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    expect("merge --model M --adapter A --output-dir o", GF_EARG, "2 ranks");
    expect("plan --model M", GF_EARG, "without mpirun");
    gf_options o = {0};
    gf_err err = {0};
    cr_expect(parse(&o, "eval --model M --data d", &err) == GF_OK, "%s", err.text);
    gf_options_free(&o);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    setenv("WORLD_SIZE", "4", 1);
    unsetenv("RANK");
    cr_expect(parse(&o, "plan --model M", &err) == GF_OK, "%s", err.text);
    gf_options_free(&o);
    setenv("RANK", "1", 1);
    expect("plan --model M", GF_EARG, "4 ranks");
    expect("plan --model M --rank 0", GF_EARG, "an option of train, eval");
}

Test(options, later_parts_are_answered_and_not_ignored)
{
    static const char *const later[] = {
        "--quantization nf4",
        "--gradient-checkpointing full",
    };
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        char words[256];
        snprintf(words, sizeof words, TRAIN "%s", later[i]);
        expect(words, GF_EMISSING, "not in this version");
    }
    expect("sweep", GF_EMISSING, "not in this version");
    gf_options o = {0};
    gf_err err;
    cr_expect(parse(&o, TRAIN "--optim adamw --quantization none", &err) == GF_OK);
    gf_options_free(&o);
}

static void with_config(const char *json, const char *more, gf_options *o, gf_status status,
                        const char *part)
{
    char path[64], words[512];
    gf_err err;
    snprintf(path, sizeof path, "/tmp/graft-options-%d.json", (int)getpid());
    FILE *f = fopen(path, "w");
    cr_assert(f);
    fputs(json, f);
    fclose(f);
    snprintf(words, sizeof words, "train --config %s %s", path, more);
    const gf_status st = parse(o, words, &err);
    unlink(path);
    cr_assert(st == status, "%s: status %d: %s", json, st, err.text);
    cr_expect(strstr(err.text, part), "%s: \"%s\" has no \"%s\"", json, err.text, part);
}

Test(options, a_config_holds_the_same_names_and_the_command_line_wins)
{
    gf_options o = {0};
    with_config("{\"model\":\"C\",\"data\":[\"a.jsonl\",\"b.jsonl\"],\"output_dir\":\"d\","
                "\"lora_r\":8,\"learning_rate\":0.001,\"no_shuffle\":true,\"seed\":7,"
                "\"target_modules\":[\"q_proj\",\"v_proj\"],\"rank_pattern\":{\"q_proj\":4},"
                "\"max_steps\":null,\"prompt\":\"of another command\",\"resume\":false}",
                "--model L --lora-r 4", &o, GF_OK, "");
    cr_expect_str_eq(o.model, "L");
    cr_expect(o.lora_r == 4 && o.learning_rate == 0.001 && o.no_shuffle && o.seed == 7);
    cr_expect(o.data.count == 2 && !strcmp(o.data.item[1], "b.jsonl"));
    cr_expect_str_eq(o.target_modules, "q_proj,v_proj");
    cr_expect_str_eq(o.rank_pattern, "{\"q_proj\":4}");
    cr_expect(o.given.learning_rate && !o.given.max_steps && !o.given.resume);
    gf_options_free(&o);
}

Test(options, a_wrong_config_is_an_error_that_names_file_and_key)
{
    gf_options o = {0};
    const char *rest = "--model M --data d --output-dir o";
    with_config("{\"lora_rank\":8}", rest, &o, GF_EARG, "the nearest is \"lora_r");
    with_config("{\"learning_rat\":8}", rest, &o, GF_EARG, "learning_rate");
    with_config("{\"lora_r\":0}", rest, &o, GF_EARG, "json: lora_r: \"0\"");
    with_config("{\"lora_r\":\"many\"}", rest, &o, GF_EARG, "whole number");
    with_config("{\"lora_r\":[1]}", rest, &o, GF_EARG, "single value");
    with_config("{\"output_dir\":3}", "--model M --data d", &o, GF_EARG, "string");
    with_config("{\"data\":[3]}", "--model M --output-dir o", &o, GF_EARG, "list of paths");
    with_config("[1]", rest, &o, GF_EINPUT, "object");
    with_config("{\"lora_r\":", rest, &o, GF_EINPUT, "json");
    with_config("{\"per_device_train_batch_size\":4}", rest, &o, GF_EARG, "--batch-size 4");
    with_config("{\"quantization\":\"nf4\"}", rest, &o, GF_EMISSING, "nf4");
    gf_options_free(&o);
    expect(TRAIN "--config /no/such/file.json", GF_EINPUT, "/no/such/file.json");
}

Test(options, help_names_every_option_with_default_and_range)
{
    gf_options o = {0};
    gf_err err = {0};
    gf_buf text = {0};
    cr_assert(parse(&o, "train --lora-r 0 --help", &err) == GF_OK && o.help);
    cr_assert(gf_options_help(&o, &text, &err) == GF_OK);
    cr_expect(strstr(text.data, "--learning-rate X") && strstr(text.data, "default 2e-4"));
    cr_expect(strstr(text.data, "[1,4096]") && strstr(text.data, "error|truncate|drop"));
    cr_expect(!strstr(text.data, "--prompt") && !strchr(text.data, '!'));
    const gf_option *p;
    for (int i = 0; (p = gf_option_at(i)); i++)
        cr_expect(!p->commands || strlen(p->help) > 4, "%s", p->name);
    text.len = 0;
    cr_assert(parse(&o, "--help", &err) == GF_OK && o.help && o.no_command);
    cr_assert(gf_options_help(&o, &text, &err) == GF_OK);
    cr_expect(strstr(text.data, "merge"));
    cr_assert(parse(&o, "--version", &err) == GF_OK && o.version);
    gf_buf_free(&text);
    gf_options_free(&o);
}

Test(options, the_record_holds_every_option_as_resolved)
{
    gf_options o = {0};
    gf_err err = {0};
    gf_buf text = {0};
    cJSON *json = NULL;
    cr_assert(parse(&o, TRAIN "--learning-rate 0.1 --resume --isa avx2", &err) == GF_OK);
    cr_assert(gf_options_json(&o, &text, &err) == GF_OK);
    cr_assert(gf_json_parse(&json, text.data, text.len, "record", 1, &err) == GF_OK, "%s",
              err.text);
    cr_expect(cJSON_GetObjectItem(json, "learning_rate")->valuedouble == 0.1);
    cr_expect(cJSON_GetObjectItem(json, "lora_r")->valuedouble == 16);
    cr_expect(cJSON_IsNull(cJSON_GetObjectItem(json, "max_steps")));
    cr_expect(cJSON_IsTrue(cJSON_GetObjectItem(json, "resume")));
    cr_expect(cJSON_IsArray(cJSON_GetObjectItem(json, "data")));
    cr_expect_str_eq(cJSON_GetObjectItem(json, "row_tokens")->valuestring, "auto");
    cr_expect_str_eq(cJSON_GetObjectItem(json, "isa")->valuestring, "avx2");
    cr_expect(!cJSON_GetObjectItem(json, "prompt"));
    cr_expect(gf_option_is_free("threads") && gf_option_is_free("output_dir"));
    cr_expect(!gf_option_is_free("learning_rate") && !gf_option_is_free("batch_size"));
    char choice[64];
    cr_expect_str_eq(gf_option_choice(&o, "isa", choice), "avx2");
    cJSON_Delete(json);
    gf_buf_free(&text);
    gf_options_free(&o);
}
