/* fuzz_tokenizer.c - any bytes as tokenizer.json; what loads must encode, decode, and load again
 * from what it prints. */
#include "text/tokenizer/parts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static gf_status ignore_piece(void *ctx, const char *piece, size_t n)
{
    (void)ctx, (void)piece, (void)n;
    return GF_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "  Caf\xC3\xA9 e\xCC\x81 it's 12\xC2\xB2 \xE4\xBB\x8A\xF0\x9F\x98\x80"
        "\r\n<s>word</s> -,x\xE2\x96\x81y \xCD\xB8";
    gf_tokenizer *t = NULL, *again = NULL;
    gf_tokens out = {0};
    gf_buf buf = {0};
    if (gf_tokenizer_parse(&t, (const char *)data, size, "fuzz", NULL) != GF_OK)
        return 0;
    if (gf_tokenizer_encode(t, text, sizeof text - 1, true, &out, NULL) == GF_OK) {
        for (int64_t i = 0; i < out.count; i++)
            if (out.start[i] < 0 || out.start[i] > (int64_t)sizeof text - 1)
                abort();
        (void)gf_tokenizer_decode(t, out.id, out.count, false, &buf, NULL);
    }
    (void)gf_tokenizer_pieces(t, text, sizeof text - 1, ignore_piece, NULL, NULL);
    buf.len = 0;
    if (gf_tokenizer_print(t, &buf, NULL) == GF_OK &&
        gf_tokenizer_parse(&again, buf.data, buf.len, "printed", NULL) != GF_OK)
        abort();
    gf_tokenizer_free(t);
    gf_tokenizer_free(again);
    gf_tokens_free(&out);
    gf_buf_free(&buf);
    return 0;
}
