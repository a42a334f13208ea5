/* test_bad_export.c - `graft export` with broken adapters, the wrong base, bad lists of formats and
 * outputs that are there: one line, exit code 2, nothing left behind. */
#include "support/refusal.h"

#include <criterion/criterion.h>

#define EXPORT "export --adapter adapter --model model --output out "
#define DEPLOY "train --model model --data tokens.jsonl --output-dir out --max-steps 1 --deploy "
#define CONFIG(edit) "sed -i '" edit "' adapter/adapter_config.json"

static const refusal usage[] = {
    {"export --adapter adapter --model model --format gguf", {"--output"}},
    {"export --adapter adapter --model model --output out", {"--format"}},
    {"export --model model --format gguf --output out", {"--adapter"}},
    {EXPORT "--format onnx", {"--format onnx", "gguf, ggla, bin, ollama"}},
    {EXPORT "--format gguf,", {"--format gguf,"}},
    {EXPORT "--format ,gguf", {"--format ,gguf"}},
    {EXPORT "--format gguf,bin,gguf", {"gguf stands there twice"}},
    {EXPORT "--format GGUF", {"--format GGUF"}},
    {EXPORT "--format ggla --dtype f16", {"--dtype", "gguf"}},
    {EXPORT "--format gguf --dtype i32", {"i32"}},
    {EXPORT "--format ollama", {"out", "is there already"}, "touch out"},
    {EXPORT "--format ollama", {"out", "is not empty"}, "mkdir out; touch out/Modelfile"},
    {EXPORT "--format ollama --chat-template nowhere", {"nowhere"}},
    {EXPORT "--format gguf --lora-r 4", {"--lora-r"}},
    {EXPORT "--format gguf", {"out", "is there already"}, "touch out"},
    {EXPORT "--format gguf", {"out", "is there already"}, "mkdir out"},
    {EXPORT "--format gguf,bin", {"out", "is not empty"}, "mkdir out; touch out/x"},
    {EXPORT "--format bin", {"out", "is there already"}, "touch out"},
    {"export --adapter adapter --format gguf --output out", {"--model"}},
    {"export --adapter adapter --model nowhere --format gguf --output out", {"nowhere"}},
    {"export --adapter nowhere --model model --format gguf --output out", {"nowhere"}},
    {"export --adapter adapter --model model --format gguf --output no/such/folder", {"no/such"}},
};

static const refusal deploy[] = {
    {DEPLOY "tgi", {"--deploy tgi", "peft, llama.cpp, ollama, vllm"}},
    {DEPLOY "vllm,vllm", {"twice"}},
    {DEPLOY "ollama --use-dora", {"--deploy ollama", "--use-dora", "graft merge"}},
    {DEPLOY "peft,llama.cpp --use-dora", {"--deploy llama.cpp", "--use-dora"}},
    {DEPLOY "vllm --lora-r 600", {"--deploy vllm", "512", "--lora-r"}},
    {DEPLOY "vllm --alpha-pattern '{\"q_proj\":3}'", {"--deploy vllm", "--alpha-pattern"}},
    {"plan --model model --deploy vllm --use-dora", {"--deploy vllm", "--use-dora"}},
};

static const refusal adapters[] = {
    {EXPORT "--format gguf", {"adapter_config.json"}, "rm adapter/adapter_config.json"},
    {EXPORT "--format gguf", {"adapter_model.safetensors"}, "rm adapter/adapter_model.safetensors"},
    {EXPORT "--format bin", {"adapter_model.safetensors"}, "rm adapter/adapter_model.safetensors"},
    {EXPORT "--format bin", {"adapter_config.json"}, "rm adapter/adapter_config.json"},
    {EXPORT "--format gguf", {"adapter_config.json:2:1"}, "echo '{' > adapter/adapter_config.json"},
    {EXPORT "--format gguf", {"peft_type"}, CONFIG("s/\"LORA\"/\"IA3\"/")},
    {EXPORT "--format gguf",
     {"llama.cpp has no DoRA", "graft merge"},
     CONFIG("s/\"use_dora\": false/\"use_dora\": true/")},
    {EXPORT "--format ggla,bin",
     {"DoRA", "graft merge"},
     CONFIG("s/\"use_dora\": false/\"use_dora\": true/")},
    {EXPORT "--format gguf", {"lora_bias"}, CONFIG("s/\"lora_bias\": false/\"lora_bias\": true/")},
    {EXPORT "--format gguf",
     {"whole tensors", "graft merge"},
     CONFIG("s/\"modules_to_save\": null/\"modules_to_save\": [\"lm_head\"]/")},
    {EXPORT "--format gguf", {"r", "0"}, CONFIG("s/\"r\": 4/\"r\": 0/")},
    {EXPORT "--format gguf", {"lora_A", "shape"}, CONFIG("s/\"r\": 4/\"r\": 5/")},
    {EXPORT "--format gguf", {"scale"}, CONFIG("s/\"lora_alpha\": 8/\"lora_alpha\": 1e300/")},
    {EXPORT "--format gguf", {"safetensors"}, "truncate -s 1000 adapter/adapter_model.safetensors"},
    {EXPORT "--format bin", {"safetensors"}, "truncate -s 1000 adapter/adapter_model.safetensors"},
    {"export --adapter adapter --format bin --output out",
     {"safetensors"},
     "truncate -s -1 adapter/adapter_model.safetensors"},
    {"export --adapter adapter --format bin --output out",
     {"no LoRA"},
     "cp model/model.safetensors adapter/adapter_model.safetensors"},
    {EXPORT "--format gguf",
     {"q_proj.lora_B", "nan"},
     NULL,
     "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
     SPOIL_POISON,
     "nan"},
};

static const refusal bases[] = {
    {"export --adapter adapter --model tiny.gguf --format gguf --output out", {"shape"}},
    {EXPORT "--format gguf",
     {"shape"},
     "sed -i 's/\"num_key_value_heads\": 2/\"num_key_value_heads\": 4/' model/config.json"},
    {EXPORT "--format gguf", {"model"}, "rm model/config.json"},
    {EXPORT "--format gguf",
     {"mamba"},
     "sed -i 's/\"LlamaForCausalLM\"/\"mambaForCausalLM\"/; s/\"llama\"/\"mamba\"/' "
     "model/config.json"},
    {"export --adapter adapter --model tiny.gguf --format gguf --output out",
     {"tiny.gguf"},
     "truncate -s 100 tiny.gguf"},
    {"export --adapter adapter --model tiny.gguf --format ollama --output out", {"shape"}},
    {"export --adapter adapter --model tokens.jsonl --format gguf --output out", {"tokens.jsonl"}},
};

Test(bad_export, usage)
{
    CHECK(usage);
}

Test(bad_export, deploy)
{
    CHECK(deploy);
}

Test(bad_export, adapters)
{
    CHECK(adapters);
}

Test(bad_export, bases)
{
    CHECK(bases);
}
