/* peers.c - bench peers: the same step by graft and by PyTorch + PEFT (tools/peers.py), one after
 * the other in one run: the same model's shape, row, rank, device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "bench.h"
#include "model/files.h"

#define MISSING 77 /* what peers.py says when a package is not there */

/* The model's sizes as options of peers.py: a peer gets random weights of this shape, so that it
 * needs no file that graft reads and it does not. */
static char *describe_shape(const bench_options *o)
{
    gf_files f = {0};
    gf_err err = {0};
    if (gf_files_open(&f, o->model, &err) != GF_OK) {
        fprintf(stderr, "bench: %s\n", err.text);
        return NULL;
    }
    const gf_config *c = &f.config;
    char *text = gf_format(&err,
                           "{\"vocab_size\":%lld,\"hidden_size\":%lld,\"intermediate_size\":%lld,"
                           "\"num_hidden_layers\":%lld,\"num_attention_heads\":%lld,"
                           "\"num_key_value_heads\":%lld,\"head_dim\":%lld,"
                           "\"max_position_embeddings\":%lld,\"rope_theta\":%.1f,"
                           "\"tie_word_embeddings\":%s,\"attention_bias\":%s}",
                           (long long)c->V, (long long)c->D, (long long)c->F, (long long)c->L,
                           (long long)c->H, (long long)c->G, (long long)c->K,
                           (long long)c->max_position, c->rope[0].theta, c->tied ? "true" : "false",
                           c->attention_bias ? "true" : "false");
    gf_files_close(&f);
    return text;
}

static void call(const char *shape, const bench_options *o, const char *precision, int threads)
{
    char rank[24], row[24], steps[24], count[24];
    snprintf(rank, sizeof rank, "%lld", (long long)o->rank);
    snprintf(row, sizeof row, "%lld", (long long)o->tokens);
    snprintf(steps, sizeof steps, "%lld", (long long)o->steps);
    snprintf(count, sizeof count, "%d", threads);
    execlp("python3", "python3", GRAFT_PEERS, "--shape", shape, "--precision", precision,
           "--lora-r", rank, "--row-tokens", row, "--steps", steps, "--threads", count, "--device",
           o->device == BENCH_CPU ? "cpu" : "cuda", (char *)NULL);
    fprintf(stderr, "bench: python3 cannot be started\n");
    _exit(MISSING);
}

/* Runs peers.py, whose JSON line goes to our stdout. Returns its exit code, 1 if it was killed. */
static int run_peer(const char *shape, const bench_options *o, const char *precision, int threads)
{
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0)
        call(shape, o, precision, threads);
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
        return 1;
    return WEXITSTATUS(status);
}

int bench_peers(const bench_options *o)
{
    if (!o->model) {
        fprintf(stderr, "bench: peers needs --model PATH\n");
        return 2;
    }
    char *shape = describe_shape(o);
    if (!shape)
        return 2;
    int counts[2], code = bench_step(o);
    const int n = o->device == BENCH_CPU ? bench_threads(o, counts) : 0;
    for (int i = 0; code == 0 && i < 2; i++) {
        code = run_peer(shape, o, i ? "fp32" : "bf16", n ? counts[n - 1] : 1);
        if (code == MISSING) {
            fprintf(stderr, "bench: no peers: see above; the results of graft alone stand\n");
            code = 0;
            break;
        }
    }
    free(shape);
    return code;
}
