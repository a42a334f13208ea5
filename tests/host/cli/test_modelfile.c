/* test_modelfile.c - the folder that `graft export --format ollama` writes, through the program. */
#include "support/program.h"
#include "support/refusal.h"
#include "support/small_model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void expect(const char *text, const char *part)
{
    cr_expect(strstr(text, part), "no \"%s\" in:\n%s", part, text);
}

static void run_well(const char *command)
{
    char *out = NULL;
    cr_assert_eq(run(&out, "%s", command), 0, "%s: %s", command, out);
    free(out);
}

/* A folder as the base: its GGUF is to be put there. */
Test(modelfile, of_a_base_that_is_a_folder)
{
    char *dir = scratch_make(), *text = NULL, command[1024];
    if (access(SMALL_ADAPTER, R_OK) != 0)
        cr_skip_test("no reference cases");
    char *model = small_model(dir);
    snprintf(command, sizeof command,
             GRAFT_BIN " export --adapter " SMALL_ADAPTER
                       " --model %s --format ollama,bin --output %s/out/",
             model, dir);
    run_well(command);
    cr_assert_eq(run(&text, "cd %s/out && ls && cat Modelfile", dir), 0);
    expect(text, "Modelfile\nadapter.gguf\nadapter_config.json\nadapter_model.bin\n");
    expect(text, "\nFROM ./base.gguf\nADAPTER ./adapter.gguf\n");
    expect(text, "graft convert");
    expect(text, "\nTEMPLATE \"\"\"");
    expect(text, "{{ \"<|im_start|>user\\n\" }}{{ .Content }}{{ \"<|im_end|>\\n\" }}");
    expect(text, "\nPARAMETER stop \"<|im_end|>\"\n");
    cr_expect_not(strstr(text, "SYSTEM"));
    free(text);
    run(&text, "ls -A %s | sort | tr '\\n' ' '", dir);
    cr_expect_str_eq(text, "out small ", "%s", text); /* no temporary folder is left */
    free(text);
    free(model);
    scratch_remove(dir);
}

/* A GGUF as the base: its path, and where the adapter comes from. */
Test(modelfile, of_a_base_that_is_a_gguf)
{
    char *dir = scratch_make(), *text = NULL;
    cr_assert(chdir(dir) == 0);
    tiny_gguf_write("tiny.gguf", &(tiny_gguf){0});
    FILE *f = fopen("text.jsonl", "w");
    cr_assert(f);
    fputs("{\"text\":\"hello\"}\n", f);
    fclose(f);
    run_well(GRAFT_BIN " train --model tiny.gguf --data text.jsonl --output-dir ad --max-steps 1");
    run_well(GRAFT_BIN " export --adapter ad --format ollama --output out"); /* run.json has it */
    cr_assert_eq(run(&text, "cat out/Modelfile"), 0);
    char *real = realpath("tiny.gguf", NULL), from[512];
    cr_assert(real);
    snprintf(from, sizeof from, "\nFROM %s\nADAPTER ./adapter.gguf\n", real);
    expect(text, from);
    expect(text, "# adapter  ad/adapter_model.safetensors  sha256 ");
    expect(text, "# base     tiny.gguf  sha256 ");
    expect(text, "# data     text.jsonl  sha256 ");
    free(real);
    free(text);
    cr_assert(chdir("/") == 0);
    scratch_remove(dir);
}
