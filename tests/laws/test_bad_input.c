/* test_bad_input.c - law 7 on the program: whatever is wrong with the models, adapters and
 * checkpoints it is given, one clear line, exit code 2, and nothing written. */
#include "support/refusal.h"

#include <criterion/criterion.h>

#define NORM "model.norm.weight"
#define Q1 "model.layers.1.self_attn.q_proj.weight"
#define A0 "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
#define B0 "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
#define NO_SUCH "No such file"

Test(bad_input, paths)
{
    static const refusal table[] = {
        {"train --model nowhere --data tokens.jsonl --output-dir out", {"nowhere", "no such"}},
        {"train --model model --data nowhere.jsonl --output-dir out", {"nowhere.jsonl", NO_SUCH}},
        {"train --model model --data . --output-dir out", {"is a folder"}},
        {TRAIN "--init-adapter nowhere", {"nowhere", "adapter_config.json"}},
        {TRAIN "--config nowhere.json", {"nowhere.json", NO_SUCH}},
        {TRAIN "--chat-template nowhere.jinja", {"nowhere.jinja", NO_SUCH}},
        {TRAIN "--eval-data nowhere.jsonl", {"nowhere.jsonl", NO_SUCH}},
        {TRAIN "--resume nowhere", {"nowhere", "no such"}},
        {EVAL "--adapter nowhere", {"nowhere", "adapter_config.json"}},
        {"merge --model model --adapter nowhere --output-dir out", {"nowhere"}},
        {"generate --model nowhere.gguf --prompt x", {"nowhere.gguf", "no such"}},
        {"generate --model tiny.gguf --messages nowhere.json", {"nowhere.json", NO_SUCH}},
        {"tokenize --model tiny.gguf --messages nowhere.json", {"nowhere.json", NO_SUCH}},
        {"info nowhere", {"nowhere"}},
        {"data --model model --data nowhere.jsonl", {"nowhere.jsonl", NO_SUCH}},
        {"plan --model nowhere", {"nowhere", "no such"}},
        {TRAIN, {"config.json"}, .shell = "rm model/config.json"},
        {TRAIN, {"model.safetensors"}, .shell = "rm model/model.safetensors"},
        {TRAIN,
         {"model/model.safetensors: is a folder"},
         .shell = "cd model && rm model.safetensors && "
                  "mkdir model.safetensors"},
        {ADAPTED, {"adapter_model.safetensors"}, .shell = "rm adapter/adapter_model.safetensors"},
        {"train --model tokens.jsonl --data tokens.jsonl --output-dir out",
         {"tokens.jsonl", "neither"}},
        {TRAIN, {"out", "empty"}, .shell = "mkdir out && touch out/notes"},
        {TRAIN, {"out"}, .shell = "touch out"},
        {MERGE, {"out", "empty"}, .shell = "mkdir out && touch out/notes"},
    };
    CHECK(table);
}

Test(bad_input, safetensors)
{
    static const char big[] = "[4503599627370496,4503599627370560]"; /* 64 bytes at 2^52 */
    static const refusal table[] = {
        {TRAIN, {"model.safetensors", "complete"}, .shell = "truncate -s -100 model/model.*"},
        {TRAIN, {"model.safetensors"}, .shell = "truncate -s 900 model/model.safetensors"},
        {TRAIN, {"model.safetensors"}, .shell = "truncate -s 5 model/model.safetensors"},
        {TRAIN, {"model.safetensors"}, .shell = "truncate -s 0 model/model.safetensors"},
        {TRAIN, {"too many"}, .shell = "printf 1234 >> model/model.safetensors"},
        {TRAIN,
         {"model.safetensors"},
         .shell = "printf '\\377\\377\\377\\377\\377\\377\\377\\177'"
                  " | dd of=model/model.safetensors conv=notrunc"},
        {TRAIN,
         {"model.safetensors", "header:1:33:"},
         .shell = "printf '\\377' | dd conv=notrunc bs=1 "
                  "seek=40 of=model/model.safetensors"},
        {TRAIN,
         {"model.safetensors", "header:1:3:"},
         .shell = "printf '}' | dd conv=notrunc bs=1 "
                  "seek=9 of=model/model.safetensors"},
        {TRAIN, {NORM, "begins at offset"}, .tensor = NORM, .how = SPOIL_SHIFT, .value = "2"},
        {TRAIN, {NORM, "begins at offset"}, .tensor = NORM, .how = SPOIL_SHIFT, .value = "-2"},
        {TRAIN, {NORM}, .tensor = NORM, .how = SPOIL_OFFSETS, .value = big},
        {TRAIN, {NORM, "offset"}, .tensor = NORM, .how = SPOIL_OFFSETS, .value = "[64,0]"},
        {TRAIN, {NORM, "offset"}, .tensor = NORM, .how = SPOIL_OFFSETS, .value = "[-64,0]"},
        {TRAIN, {NORM, "offset"}, .tensor = NORM, .how = SPOIL_OFFSETS, .value = "[1]"},
        {TRAIN, {NORM, "twice"}, .tensor = NORM, .how = SPOIL_TWICE},
        {TRAIN, {NORM, "Q7"}, .tensor = NORM, .how = SPOIL_DTYPE, .value = "Q7"},
        {TRAIN, {NORM, "I16"}, .tensor = NORM, .how = SPOIL_DTYPE, .value = "I16"},
        {TRAIN, {NORM, "bytes"}, .tensor = NORM, .how = SPOIL_DTYPE, .value = "F32"},
        {TRAIN, {Q1, "[16, 64]", "[32, 32]"}, .tensor = Q1, .how = SPOIL_SHAPE, .value = "[16,64]"},
        {TRAIN, {Q1, "shape"}, .tensor = Q1, .how = SPOIL_SHAPE, .value = "[1024]"},
        {TRAIN, {Q1, "dimension"}, .tensor = Q1, .how = SPOIL_SHAPE, .value = "[-1,32]"},
        {TRAIN, {Q1, "dimension"}, .tensor = Q1, .how = SPOIL_SHAPE, .value = "[0.5,2048]"},
        {TRAIN,
         {Q1, "64 bits"},
         .tensor = Q1,
         .how = SPOIL_SHAPE,
         .value = "[4503599627370496,4503599627370496]"},
        {TRAIN, {Q1, "missing"}, .tensor = Q1, .how = SPOIL_REMOVE},
        {TRAIN, {Q1, "missing"}, .tensor = Q1, .how = SPOIL_RENAME, .value = "other"},
        {TRAIN,
         {"model.extra", "unexpected"},
         .tensor = NORM,
         .how = SPOIL_ADD,
         .value = "model.extra"},
        {TRAIN,
         {"layers.2.", "unexpected"},
         .tensor = Q1,
         .how = SPOIL_ADD,
         .value = "model.layers.2.self_attn.q_proj.weight"},
        {TRAIN,
         {"self_attn.q_proj.bias", "unexpected"},
         .tensor = NORM,
         .how = SPOIL_ADD,
         .value = "model.layers.0.self_attn.q_proj.bias"},
        {TRAIN, {"__metadata__"}, .how = SPOIL_METADATA, .tensor = "", .value = "{\"format\":1}"},
        {MERGE, {Q1, "missing"}, .tensor = Q1, .how = SPOIL_REMOVE},
        {EVAL, {"model.safetensors", "complete"}, .shell = "truncate -s -100 model/model.*"},
    };
    CHECK(table);
}

#define SHARD "model-00001-of-00001.safetensors"
#define INDEX(text)                                                                                \
    "cd model && mv model.safetensors " SHARD " && echo '{\"weight_map\":" text                    \
    "}' > model.safetensors.index.json"

Test(bad_input, shards)
{
    static const refusal table[] = {
        {TRAIN,
         {"index.json", NORM, "in this folder"},
         .shell = INDEX("{\"" NORM "\":\"../model/" SHARD "\"}")},
        {TRAIN,
         {"absent.safetensors", "index.json"},
         .shell = INDEX("{\"" NORM "\":\"absent.safetensors\"}")},
        {TRAIN,
         {SHARD, "lm_head.weight", "not in the weight_map"},
         .shell = INDEX("{\"" NORM "\":\"" SHARD "\"}")},
        {TRAIN,
         {"index.json", "tensor x", "not in " SHARD},
         .shell = INDEX("{\"x\":\"" SHARD "\"}")},
        {TRAIN, {"index.json", "weight_map"}, .shell = INDEX("7")},
    };
    CHECK(table);
}

#define THEN " 2>&1 && cd out/checkpoint-1 && "

/* A checkpoint is a file like any other. */
Test(bad_input, checkpoints)
{
    static const refusal table[] = {
        {TRAIN "--resume",
         {"checkpoint-1/state.json:1:"},
         .shell = GRAFT_BIN " " TRAIN THEN "truncate -s 40 state.json"},
        {TRAIN "--resume",
         {"checkpoint-1/state.json"},
         .shell = GRAFT_BIN " " TRAIN THEN "rm state.json"},
        {TRAIN "--resume",
         {"checkpoint-1/optimizer.safetensors", "complete"},
         .shell = GRAFT_BIN " " TRAIN THEN "truncate -s -4 optimizer.safetensors"},
        {TRAIN "--resume",
         {"checkpoint-1/adapter_model.safetensors", "complete"},
         .shell = GRAFT_BIN " " TRAIN THEN "truncate -s 900 adapter_model.safetensors"},
        {TRAIN "--resume",
         {"checkpoint-1/adapter_config.json", "No such"},
         .shell = GRAFT_BIN " " TRAIN THEN "rm adapter_config.json"},
        {TRAIN "--resume",
         {"checkpoint-1/adapter_config.json", "lora_alpha", "= 7"},
         .shell = GRAFT_BIN " " TRAIN THEN
                            "sed -i 's/\"lora_alpha\": [0-9]*/\"lora_alpha\": 7/' *.json"},
        {TRAIN "--resume",
         {"checkpoint-1/optimizer.safetensors", "v["},
         .shell = GRAFT_BIN " " TRAIN THEN
                            "printf '\\377' > f && truncate -s -1 optimizer.safetensors && "
                            "cat f >> optimizer.safetensors && rm f"},
        {TRAIN "--resume other/checkpoint-1",
         {"other/checkpoint-1", "of its own"},
         .shell = GRAFT_BIN " " TRAIN "2>&1 && cp -r out other"},
        {TRAIN "--resume --lora-r 8", {"lora_r"}, .shell = GRAFT_BIN " " TRAIN},
        {TRAIN "--resume", {"notes"}, .shell = GRAFT_BIN " " TRAIN "&& touch out/notes"},
    };
    CHECK(table);
}

Test(bad_input, gguf)
{
    static const char norm[] = "blk.1.attn_norm.weight", q[] = "blk.0.attn_q.weight";
    static const refusal table[] = {
        {TRAIN_GGUF, {"tiny.gguf", "complete"}, .shell = "truncate -s -100 tiny.gguf"},
        {TRAIN_GGUF, {"tiny.gguf", "byte"}, .shell = "truncate -s 3000 tiny.gguf"},
        {TRAIN_GGUF, {"tiny.gguf"}, .shell = "truncate -s 3 tiny.gguf"},
        {TRAIN_GGUF, {"tiny.gguf"}, .shell = "truncate -s 0 tiny.gguf"},
        {TRAIN_GGUF, {"tiny.gguf", "version 1"}, .gguf = {.version = 1}},
        {TRAIN_GGUF, {"tiny.gguf"}, .gguf = {.version = 0x03000000}},
        {TRAIN_GGUF, {norm, "missing"}, .gguf = {.without = norm}},
        {TRAIN_GGUF, {"token_embd.weight", "missing"}, .gguf = {.without = "token_embd.weight"}},
        {TRAIN_GGUF, {"blk.0.extra", "unexpected"}, .gguf = {.extra = "blk.0.extra"}},
        {TRAIN_GGUF, {norm, "twice"}, .gguf = {.twice = norm}},
        {TRAIN_GGUF, {"ffn_up", "shape"}, .gguf = {.reshaped = "blk.0.ffn_up.weight"}},
        {TRAIN_GGUF, {q, "77"}, .gguf = {.renumbered = q}},
        {TRAIN_GGUF, {q, "offset"}, .gguf = {.moved = q}},
        {TRAIN_GGUF, {"mamba", "llama"}, .gguf = {.architecture = "mamba"}},
        {TRAIN_GGUF, {"longrope", "yarn"}, .gguf = {.rope_scaling = "longrope"}},
        {TRAIN_GGUF, {"llama.block_count"}, .gguf = {.without_key = "llama.block_count"}},
        {TRAIN_GGUF, {"general.architecture"}, .gguf = {.without_key = "general.architecture"}},
        {TRAIN_GGUF, {"llama.block_count", "twice"}, .gguf = {.key_twice = "llama.block_count"}},
        {TRAIN_GGUF, {"tokenizer"}, .gguf = {.no_tokenizer = true}},
        {TRAIN_GGUF, {"merges"}, .gguf = {.without_key = "tokenizer.ggml.merges"}},
        {TRAIN_CHAT, {"chat template", "--chat-template"}, .gguf = {.no_template = true}},
        {"generate --model tiny.gguf --prompt x",
         {"complete"},
         .shell = "truncate -s -9 tiny.gguf"},
    };
    CHECK(table);
}

#define SED(what) "sed -i '" what "' model/config.json"

Test(bad_input, config)
{
    static const refusal table[] = {
        {TRAIN, {"model/config.json:1:1:"}, .shell = "echo nonsense > model/config.json"},
        {TRAIN, {"config.json:4:1:"}, .shell = SED("3s/\"/\\n/")},
        {TRAIN, {"config.json:3:6:", "UTF-8"}, .shell = SED("3s/Llama/\\xff/")},
        {TRAIN,
         {"config.json:12:3:", "hidden_size", "twice"},
         .shell = SED("s/\"hidden_act\"/\"hidden_size\"/")},
        {TRAIN,
         {"MambaForCausalLM", "llama"},
         .shell = SED("s/LlamaForCausalLM/MambaForCausalLM/;s/\"llama\"/\"mamba\"/")},
        {TRAIN, {"longrope"}, .shell = SED("s/\"default\"/\"longrope\"/")},
        {TRAIN, {"wavy"}, .shell = SED("s/\"default\"/\"wavy\"/")},
        {TRAIN, {"hidden_size"}, .shell = SED("s/hidden_size\": 32/hidden_size\": -32/")},
        {TRAIN, {"hidden_size"}, .shell = SED("s/hidden_size\": 32/hidden_size\": 1e30/")},
        {TRAIN, {"hidden_size"}, .shell = SED("s/hidden_size\": 32/hidden_size\": \"32\"/")},
        {TRAIN, {"3 key/value heads"}, .shell = SED("s/value_heads\": 2/value_heads\": 3/")},
        {TRAIN, {"hidden_act", "wavy"}, .shell = SED("s/silu/wavy/")},
        {TRAIN, {"rms_norm_eps"}, .shell = SED("s/1e-06/-1/")},
        {TRAIN, {"is missing", "layers.2"}, .shell = SED("s/layers\": 2/layers\": 3/")},
        {TRAIN, {"unexpected", "layers.1"}, .shell = SED("s/layers\": 2/layers\": 1/")},
        {TRAIN, {"shape", "[97, 32]"}, .shell = SED("s/vocab_size\": 97/vocab_size\": 98/")},
    };
    CHECK(table);
}

#define ASED(what) "sed -i '" what "' adapter/adapter_config.json"

Test(bad_input, adapter)
{
    static const char v9[] = "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight";
    static const refusal table[] = {
        {ADAPTED, {"adapter_config.json:1:1:"}, .shell = "echo x > adapter/adapter_config.json"},
        {ADAPTED, {"adapter_config.json"}, .shell = "rm adapter/adapter_config.json"},
        {ADAPTED, {"VERA"}, .shell = ASED("s/\"LORA\"/\"VERA\"/")},
        {ADAPTED, {"r"}, .shell = ASED("s/\"r\": 4/\"r\": 0/")},
        {ADAPTED, {"lora_A", "shape"}, .shell = ASED("s/\"r\": 4/\"r\": 8/")},
        {ADAPTED,
         {"lora_magnitude_vector", "missing"},
         .shell = ASED("s/use_dora\": false/use_dora\": true/")},
        {ADAPTED, {"target", "q_proj"}, .shell = ASED("/target_modules/,/]/s/_proj/_prox/")},
        {ADAPTED, {B0, "missing"}, .tensor = B0, .how = SPOIL_REMOVE},
        {ADAPTED, {"layers.9"}, .tensor = A0, .how = SPOIL_ADD, .value = v9},
        {ADAPTED, {A0, "shape", "[4, 32]"}, .tensor = A0, .how = SPOIL_SHAPE, .value = "[8,16]"},
        {ADAPTED, {A0, "I32"}, .tensor = A0, .how = SPOIL_DTYPE, .value = "I32"},
        {ADAPTED, {"q_proj.lora_A", "twice"}, .tensor = A0, .how = SPOIL_TWICE},
        {ADAPTED, {"complete"}, .shell = "truncate -s -8 adapter/adapter_model.safetensors"},
        {ADAPTED, {"bias", "all"}, .shell = ASED("s/bias\": \"none/bias\": \"all/")},
        {ADAPTED, {"lora_bias"}, .shell = ASED("s/lora_bias\": false/lora_bias\": true/")},
        {ADAPTED, {"fan_in_fan_out"}, .shell = ASED("s/fan_out\": false/fan_out\": true/")},
        {ADAPTED,
         {"lm_head.weight", "missing"},
         .shell = ASED("s/to_save\": null/to_save\": [\"lm_head\"]/")},
        {ADAPTED,
         {"modules_to_save", "norm", "lm_head"},
         .shell = ASED("s/to_save\": null/to_save\": [\"norm\"]/")},
        {ADAPTED, {"pissa"}, .shell = ASED("s/lora_weights\": true/lora_weights\": \"pissa\"/")},
        {ADAPTED, {"trainable_token_indices"}, .shell = ASED("s/indices\": null/indices\": [5]/")},
        {ADAPTED,
         {"target_parameters"},
         .shell = ASED("s/parameters\": null/parameters\": [\"a\"]/")},
        {ADAPTED,
         {"layer_replication"},
         .shell = ASED("s/replication\": null/replication\": [[0,2]]/")},
        {ADAPTED,
         {"layers_pattern"},
         .shell = ASED("s/layers_pattern\": null/layers_pattern\": \"h\"/")},
        {ADAPTED, {"lora_alpha"}, .shell = ASED("s/lora_alpha\": 8/lora_alpha\": \"8\"/")},
        {ADAPTED,
         {"q_proj"},
         .shell = ASED("s/rank_pattern\": {}/rank_pattern\": {\"q_proj\": 0}/")},
        {ADAPTED,
         {"lora_A", "[4, 32]", "[2, 32]"},
         .shell = ASED("s/rank_pattern\": {}/rank_pattern\": {\"q_proj\": 2}/")},
        {ADAPTED,
         {"layers_to_transform", "9"},
         .shell = ASED("s/transform\": null/transform\": [9]/")},
        {ADAPTED,
         {"q_proj", "belongs to no module"},
         .shell = ASED("s/exclude_modules\": null/exclude_modules\": [\"q_proj\"]/")},
        {ADAPTED,
         {"lora_embedding_A", "missing"},
         .shell = ASED("s/\"q_proj\"/\"q_proj\", \"embed_tokens\"/")},
        {ADAPTED,
         {"lm_head.lora_A", "missing"},
         .shell = ASED("s/\"q_proj\"/\"q_proj\", \"lm_head\"/")},
        {ADAPTED, {"some_key"}, .shell = ASED("s/\"r\": 4/\"r\": 4, \"some_key\": 1/")},
        {ADAPTED, {"adapter_model.safetensors"}, .shell = "rm adapter/adapter_model.safetensors"},
        {ADAPTED,
         {"adapter_model.bin"},
         .shell = "rm adapter/adapter_model.safetensors; echo x > adapter/adapter_model.bin"},
        {MERGE, {B0, "missing"}, .tensor = B0, .how = SPOIL_REMOVE},
        {TRAIN "--init-adapter adapter", {B0, "missing"}, .tensor = B0, .how = SPOIL_REMOVE},
        {TRAIN "--init-adapter adapter --lora-r 8", {"--lora-r", "contradicts"}},
    };
    CHECK(table);
}
