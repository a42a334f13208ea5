/* cmd_merge.c - graft merge: base + adapter -> a model folder with its tokenizer. */
#include "cli/commands.h"

#include "cli/progress.h"
#include "cli/session.h"
#include "model/merge.h"

#include <stdlib.h>
#include <unistd.h>

static void on_tensor(void *ctx, int64_t done, int64_t total)
{
    const bool terminal = *(const bool *)ctx;
    if (terminal)
        fprintf(stderr, "\rgraft: merging %lld of %lld tensors%s", (long long)done,
                (long long)total, done == total ? "\n" : "");
}

gf_status gf_cmd_merge(const gf_options *o, gf_err *err)
{
    static const gf_dtype dtypes[] = {[GF_DTYPE_BASE] = GF_DTYPES,
                                      [GF_DTYPE_F32] = GF_F32,
                                      [GF_DTYPE_F16] = GF_F16,
                                      [GF_DTYPE_BF16] = GF_BF16};
    gf_session s;
    char *text = NULL;
    bool terminal = isatty(STDERR_FILENO);
    gf_status st = GF_OK;
    gf_session_start(&s, o);
    TRYG(gf_session_files(&s, err));
    TRYG(gf_session_tokenizer(&s, false, err));
    const gf_merge_options opt = {.adapter = o->adapter,
                                  .output = o->output_dir,
                                  .dtype = dtypes[o->dtype],
                                  .progress = on_tensor,
                                  .ctx = &terminal};
    TRYG(gf_merge(&s.files, &opt, err));
    if (s.tokenizer) {
        TRYG(gf_session_template_text(&s, &text, err));
        TRYG(gf_tokenizer_save(s.tokenizer, o->output_dir, text, err));
    }
    fprintf(stderr, "graft: %s: the merged model\n", o->output_dir);
out:
    free(text);
    gf_session_close(&s);
    return st;
}
