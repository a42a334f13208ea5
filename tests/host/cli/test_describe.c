/* test_describe.c - descriptions of a model, an adapter and a checkpoint hold what is in them. */
#include "cli/describe.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "support/small_model.h"

static void expect_all(const gf_buf *text, const char *const *parts)
{
    for (; *parts; parts++)
        cr_expect(strstr(text->data, *parts), "no \"%s\" in\n%s", *parts, text->data);
}

Test(describe, model)
{
    static const char *const parts[] = {
        "llama",        "vocabulary         97", "BF16", "rope", "97 tokens",
        "2 <|im_end|>", "chat template      ",   NULL};
    char *dir = scratch_make(), *model = small_model(dir);
    gf_options o = {.model = model};
    gf_session s;
    gf_buf text = {0};
    gf_err err = {0};
    gf_session_start(&s, &o);
    cr_assert_eq(gf_describe_model(&s, &text, &err), GF_OK, "%s", err.text);
    expect_all(&text, parts);
    gf_buf_free(&text);
    gf_session_close(&s);
    free(model);
    scratch_remove(dir);
}

Test(describe, adapter)
{
    static const char *const parts[] = {"alpha", "targets", "F32", "on this model      fits", NULL};
    gf_options o = {.model = SMALL_CASE "/model"};
    gf_session s;
    gf_buf text = {0};
    gf_err err = {0};
    gf_session_start(&s, &o);
    cr_assert_eq(gf_describe_adapter(&s, SMALL_ADAPTER, &text, &err), GF_OK, "%s", err.text);
    expect_all(&text, parts);
    cr_expect_eq(gf_describe_adapter(&s, "/no/such", &text, &err), GF_EINPUT);
    gf_buf_free(&text);
    gf_session_close(&s);
}

Test(describe, checkpoint_and_machine)
{
    static const char *const parts[] = {"step               12", "this machine", "plain", NULL};
    char *dir = scratch_make();
    char *path = small_file(dir, "state.json", "{\"step\":12,\"more\":{\"deep\":1}}");
    gf_buf text = {0};
    gf_err err = {0};
    cr_assert_eq(gf_describe_checkpoint(dir, &text, &err), GF_OK, "%s", err.text);
    cr_assert_eq(gf_describe_machine(&text, &err), GF_OK, "%s", err.text);
    expect_all(&text, parts);
    free(path);
    path = small_file(dir, "state.json", "[1]");
    cr_expect_eq(gf_describe_checkpoint(dir, &text, &err), GF_EINPUT);
    gf_buf_free(&text);
    free(path);
    scratch_remove(dir);
}

/* Whatever this machine has: why there is no GPU, or each one and its libraries. */
Test(describe, gpus)
{
    gf_cuda_machine m;
    gf_device d;
    gf_buf text = {0};
    gf_err err = {0};
    gf_cuda_look(&m);
    cr_assert_eq(gf_describe_gpus(&text, &err), GF_OK, "%s", err.text);
    if (m.devices == 0) {
        const char *const parts[] = {"gpu                none: ", m.why, NULL};
        expect_all(&text, parts);
    } else {
        cr_assert_eq(gf_cuda_device(&d, 0, &err), GF_OK, "%s", err.text);
        const char *const parts[] = {
            "cuda driver        for CUDA ", "gpu                0: ", d.name,
            "cuBLASLt           ",          "nccl               ",    NULL};
        expect_all(&text, parts);
    }
    gf_buf_free(&text);
}
