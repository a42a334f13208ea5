/* launch_embed.c - what trains the embedding has no kernels yet; gf_model_open says so before this
 * does.
 */
#include "cuda.h"

static gf_status refuse(gf_backend *be, const char *op)
{
    return gf_fail(&be->err, GF_EMISSING, "%s: not on a device", op);
}

gf_status gf_cuda_embed_lora_fwd(gf_backend *be, gf_tensor x, gf_tensor s, gf_tensor ids,
                                 const gf_linear *lin)
{
    (void)x, (void)s, (void)ids, (void)lin;
    return refuse(be, "embed_lora_fwd");
}

gf_status gf_cuda_embed_lora_bwd(gf_backend *be, gf_tensor p, gf_tensor dx, gf_tensor s,
                                 gf_tensor ids, const gf_linear *lin, const gf_spans *row,
                                 gf_fixed *fixed)
{
    (void)p, (void)dx, (void)s, (void)ids, (void)lin, (void)row, (void)fixed;
    return refuse(be, "embed_lora_bwd");
}

gf_status gf_cuda_embed_bwd(gf_backend *be, gf_tensor dtable, gf_tensor dx, gf_tensor ids,
                            float scale, gf_fixed *fixed)
{
    (void)dtable, (void)dx, (void)ids, (void)scale, (void)fixed;
    return refuse(be, "embed_bwd");
}
