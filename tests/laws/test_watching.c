/* test_watching.c - looking at a run changes nothing of it: same bits with samples, events, report
 * and Prometheus file or without; answers are generate's; a resume goes on with all of it; what
 * cannot be written ends the run. */
#include "support/program.h"
#include "support/small_model.h"

#include "base/file.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static char *dir, *model, *data, *prompts;

static void start(void)
{
    dir = scratch_make();
    model = small_model(dir);
    data = small_tokens(dir, 12, 5, 24);
    prompts = small_file(dir, "prompts.txt", "hello there\n\nA\nwhat is it {}?\n");
}

static void stop(void)
{
    free(prompts);
    free(data);
    free(model);
    scratch_remove(dir);
}

TestSuite(watching, .init = start, .fini = stop);

static int train(char **text, const char *out, const char *more)
{
    return run(text,
               "cd %s && " GRAFT_BIN " train --model %s --data %s --eval-data %s --output-dir %s "
               "--batch-size 4 --num-train-epochs 3 --lora-dropout 0.1 --learning-rate 0.01 "
               "--device cpu --threads 1 --save-steps 3 %s",
               dir, model, data, data, out, more);
}

static void trains(const char *out, const char *more)
{
    char *text;
    cr_assert_eq(train(&text, out, more), 0, "%s", text);
    free(text);
}

static char *in(const char *file)
{
    return gf_format(NULL, "%s/%s", dir, file);
}

static bool same(const char *x, const char *y)
{
    char *p = in(x), *q = in(y);
    const bool is = same_bytes(p, q);
    free(p);
    free(q);
    return is;
}

static bool there(const char *file)
{
    char *path = in(file);
    const bool is = gf_file_exists(path) || gf_dir_exists(path);
    free(path);
    return is;
}

Test(watching, changes_no_bit)
{
    trains("plain", "--report-to none");
    trains("watched", "--sample-prompts prompts.txt --sample-tokens 9 --metrics-file watched.prom");
    cr_expect(same("plain/adapter_model.safetensors", "watched/adapter_model.safetensors"));
    cr_expect(same("plain/checkpoint-6/optimizer.safetensors",
                   "watched/checkpoint-6/optimizer.safetensors"));
    cr_expect(there("watched/report.html") && there("watched/runs/watched") &&
              there("watched/samples.jsonl") && there("watched.prom"));
    cr_expect(!there("plain/report.html") && !there("plain/runs") && !there("plain/samples.jsonl"));
}

/* Rows that hold one prompt at a time, or all of them: the same answers. */
Test(watching, samples_do_not_depend_on_the_row)
{
    trains("wide", "--sample-prompts prompts.txt --sample-tokens 9 --row-tokens 400");
    trains("narrow", "--sample-prompts prompts.txt --sample-tokens 9 --row-tokens 26");
    cr_expect(same("wide/samples.jsonl", "narrow/samples.jsonl"));
}

static cJSON *line_of(const char *file, int n)
{
    char *path = in(file), *text, *at;
    size_t size;
    gf_err err = {0};
    cJSON *line = NULL;
    cr_assert_eq(gf_file_read(path, &text, &size, &err), GF_OK, "%s", err.text);
    for (at = text; n > 0; n--)
        at = strchr(at, '\n') + 1;
    cr_assert_eq(gf_json_parse(&line, at, strcspn(at, "\n"), path, 1, &err), GF_OK, "%s", err.text);
    free(path);
    free(text);
    return line;
}

static const char *text_of(const cJSON *line, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, key));
    cr_assert_not_null(text, "%s", key);
    return text;
}

/* The same prompt through generate: before training the base's answer, after it the adapter's. */
Test(watching, answers_are_those_of_generate)
{
    trains("out", "--sample-prompts prompts.txt --sample-tokens 9");
    for (int i = 0; i < 3; i++)
        for (int after = 0; after <= 1; after++) {
            /* three prompts each at step 0 and after the three epochs */
            cJSON *line = line_of("out/samples.jsonl", 9 * after + i), *answer = NULL;
            char *text;
            const int code =
                run_stdout(&text,
                           "cd %s && " GRAFT_BIN " generate --model %s %s --prompt '%s' "
                           "--max-new-tokens 9 --device cpu --threads 1 --json",
                           dir, model, after ? "--adapter out" : "", text_of(line, "prompt"));
            cr_assert_eq(code, 0);
            cr_assert_eq(gf_json_parse(&answer, text, strlen(text), "stdout", 1, NULL), GF_OK);
            cr_expect_str_eq(text_of(line, "answer"), text_of(answer, "text"));
            cr_expect_eq(cJSON_GetObjectItem(line, "step")->valueint, after ? 9 : 0);
            cJSON_Delete(answer);
            cJSON_Delete(line);
            free(text);
        }
}

Test(watching, a_resume_goes_on)
{
    static const char more[] =
        "--sample-prompts prompts.txt --sample-tokens 4 --save-total-limit 9";
    char *text;
    trains("whole", more);
    trains("cut", more);
    cr_assert_eq(
        run(NULL, "cd %s/cut && rm -r checkpoint-6 checkpoint-9 adapter_model.safetensors", dir),
        0);
    char *again = gf_format(NULL, "%s --resume", more);
    trains("cut", again);
    free(again);
    cr_expect(same("whole/samples.jsonl", "cut/samples.jsonl"));
    cr_expect(same("whole/adapter_model.safetensors", "cut/adapter_model.safetensors"));
    run_stdout(&text, "ls %s/cut/runs/cut | wc -l", dir);
    cr_expect_eq(atoi(text), 2);
    free(text);
    /* the report knows the steps from before: nine of them, and every evaluation once */
    run_stdout(&text, "grep -o '\"curves\":{\"width\":1,\"step\":.[0-9,]*.' %s/cut/report.html",
               dir);
    cr_expect_str_eq(text, "\"curves\":{\"width\":1,\"step\":[1,2,3,4,5,6,7,8,9]\n");
    free(text);
    run_stdout(&text, "grep -o '\"eval\":{\"step\":.[0-9,]*.' %s/cut/report.html", dir);
    cr_expect_str_eq(text, "\"eval\":{\"step\":[0,3,6,9]\n");
    free(text);
}

Test(watching, what_cannot_be_written_ends_the_run)
{
    char *text;
    cr_assert_eq(run(NULL, "mkdir -p %s/taken.prom/x", dir), 0);
    cr_expect_eq(train(&text, "out", "--metrics-file taken.prom"), 1, "%s", text);
    cr_expect(strstr(text, "taken.prom"), "%s", text);
    cr_expect(!there("out/adapter_model.safetensors"));
    free(text);
    /* 16 blocks of 512 bytes: the page is larger, whatever the events need */
    cr_expect_eq(run(&text,
                     "(cd %s && ulimit -f 16 && " GRAFT_BIN
                     " train --model %s --data %s --output-dir full --max-steps 2 --lora-r 1 "
                     "--target-modules q_proj --device cpu --threads 1)",
                     dir, model, data),
                 1, "%s", text);
    cr_expect(strstr(text, "report.html"), "%s", text);
    free(text);
}

/* What stands in data and prompts is text on the page: it never ends the script or begins a tag. */
Test(watching, nothing_of_the_data_is_markup)
{
    char *text;
    free(small_file(dir, "evil.jsonl",
                    "{\"prompt\":\"</script><img src=x onerror=alert(1)>&amp;\"}\n"
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"<!--\"},"
                    "{\"role\":\"assistant\",\"content\":\"]]></textarea>\"}]}\n"));
    trains("evil", "--sample-prompts evil.jsonl --sample-tokens 2");
    run_stdout(&text, "grep -c -e '</script>' -e '<img' -e '<!--' %s/evil/report.html", dir);
    cr_expect_eq(atoi(text), 2, "%s", text); /* the page's own two ends of scripts */
    free(text);
    run_stdout(&text, "grep -c 'u003c/script.u003e.u003cimg' %s/evil/report.html", dir);
    cr_expect_eq(atoi(text), 1, "%s", text);
    free(text);
}

/* On the test device: the same bits, the same answers before training, and what its monitor library
 * says (tests/ptxvm/standin_nvml.c) in every place. */
Test(watching, a_gpu)
{
    static const char command[] =
        "cd %s && " GRAFT_BIN " train --model %s --data %s --batch-size 4 --max-steps 2 "
        "--device cuda --precision fp32 --output-dir %s %s";
    char *text;
    if (!getenv("PTXVM_DEVICES"))
        cr_skip_test("only on the test device");
    cr_assert_eq(run(&text, command, dir, model, data, "plain", "--report-to none"), 0, "%s", text);
    free(text);
    cr_assert_eq(run(&text, command, dir, model, data, "seen",
                     "--sample-prompts prompts.txt --sample-tokens 2 --metrics-file seen.prom"),
                 0, "%s", text);
    free(text);
    cr_expect(same("plain/adapter_model.safetensors", "seen/adapter_model.safetensors"));
    trains("cpu", "--sample-prompts prompts.txt --sample-tokens 2");
    for (int i = 0; i < 3; i++) {
        cJSON *device = line_of("seen/samples.jsonl", i), *host = line_of("cpu/samples.jsonl", i);
        cr_expect_str_eq(text_of(device, "answer"), text_of(host, "answer"));
        cJSON_Delete(device);
        cJSON_Delete(host);
    }
    char *metrics = in("seen/metrics.jsonl");
    cr_expect_eq(jsonl_number(metrics, "gpu_utilization", 1), 97);
    cr_expect_eq(jsonl_number(metrics, "gpu_power", 0), 312);
    cr_expect_eq(jsonl_number(metrics, "gpu_temperature", 0), 61);
    cr_expect_eq(jsonl_number(metrics, "gpu_memory", 0), 2147483648.0);
    free(metrics);
    run_stdout(&text, "grep -c 'graft_gpu_power_watts{run=\"seen\"} 312' %s/seen.prom", dir);
    cr_expect_eq(atoi(text), 1);
    free(text);
    run_stdout(&text, "grep -l gpu/power_watts %s/seen/runs/seen/* | wc -l", dir);
    cr_expect_eq(atoi(text), 1);
    free(text);
}
