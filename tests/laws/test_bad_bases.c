/* test_bad_bases.c - law 7 on the program: damaged torch files, folders that bitsandbytes has
 * quantised, indices of shards, GGUF in several files: one clear line, exit code 2, nothing
 * written (and nothing run that a pickle asks for). */
#include "support/refusal.h"

#include <criterion/criterion.h>

#define NORM "model.norm.weight"
#define GOLDEN GRAFT_TESTS "/golden/"
#define SED "LC_ALL=C sed -i "

/* The reference model as torch saved it, in $f. */
#define BIN(spoil)                                                                                 \
    "cd model && f=pytorch_model.bin && rm model.safetensors && cp " GOLDEN                        \
    "torch/model.bin $f && " spoil
#define MAGIC "\\200\\2\\212\\12l\\374\\234F\\371 j\\250P\\31."

Test(bad_bases, torch)
{
    static const refusal table[] = {
        {TRAIN, {"pytorch_model.bin", "complete"}, .shell = BIN("truncate -s -1 $f")},
        {TRAIN, {"pytorch_model.bin", "complete"}, .shell = BIN("truncate -s -100 $f")},
        {TRAIN, {"pytorch_model.bin", "complete"}, .shell = BIN("truncate -s 20000 $f")},
        {TRAIN, {"pytorch_model.bin", "complete"}, .shell = BIN("truncate -s 3 $f")},
        {TRAIN, {"pytorch_model.bin", "byte 0"}, .shell = BIN("truncate -s 0 $f")},
        {EVAL, {"pytorch_model.bin", "byte 0"}, .shell = BIN("echo hello > $f")},
        {TRAIN, {"pytorch_model.bin: is a folder"}, .shell = BIN("rm $f && mkdir $f")},
        {TRAIN,
         {"byte 47672", "directory entry"},
         .shell = BIN(SED "'s/PK\\x01\\x02/PK\\x01\\x07/' $f")},
        {TRAIN,
         {"does not begin"},
         .shell = BIN(SED "'s/PK\\x03\\x04\\x00/PK\\x03\\x05\\x00/2g' $f")},
        {TRAIN, {"without data.pkl"}, .shell = BIN(SED "'s/data.pkl/data.pk1/g' $f")},
        {TRAIN, {"big-endian"}, .shell = BIN(SED "'s/little/bigger/' $f")},
        {TRAIN,
         {"data.pkl: byte", "v9", "refused"},
         .shell = BIN(SED "'s/tensor_v2/tensor_v9/' $f")},
        {TRAIN, {"collections.OrderedDicx"}, .shell = BIN(SED "'s/^OrderedDict$/OrderedDicx/' $f")},
        {TRAIN,
         {"torch.BFloat17Storage"},
         .shell = BIN(SED "'s/BFloat16Storage/BFloat17Storage/' $f")},
        {TRAIN, {"its storage is none"}, .shell = BIN(SED "'s/storageq/stprageq/' $f")},
        {TRAIN,
         {"data/0, are not in the file"},
         .shell = BIN(SED "'s#model/data/0#model/data/x#g' $f")},
        {TRAIN, {NORM, "missing"}, .shell = BIN(SED "'s/model.norm.weight/model.nrom.weight/' $f")},
        {TRAIN,
         {"model.embed_tokens.weight", "missing"},
         .shell = BIN("cp " GOLDEN "torch/old.bin $f")},
        {TRAIN, {"complete"}, .shell = BIN("cp " GOLDEN "torch/old.bin $f && truncate -s -9 $f")},
        {TRAIN,
         {"byte 17", "os.system", "refused"},
         .shell =
             BIN("printf '" MAGIC "\\200\\2cos\\nsystem\\nX\\10\\0\\0\\0touch it\\205R.' > $f")},
        {TRAIN,
         {"builtins.eval"},
         .shell = BIN("printf '" MAGIC "\\200\\2cbuiltins\\neval\\nX\\1\\0\\0\\0001\\205R.' > $f")},
        {TRAIN, {"protocol"}, .shell = BIN("printf '" MAGIC "\\200\\2K\\1.' > $f")},
    };
    CHECK(table);
}

#define SHARD "pytorch_model-00001-of-00001.bin"
#define INDEX(text) BIN("mv $f " SHARD " && printf '%s' '" text "' > $f.index.json")
#define MAP(text) INDEX("{\"weight_map\":" text "}")

Test(bad_bases, index)
{
    static const refusal table[] = {
        {TRAIN, {"index.json:1:1:"}, .shell = INDEX("")},
        {TRAIN, {"index.json:1:1:"}, .shell = INDEX("nonsense")},
        {TRAIN, {"index.json:1:15:"}, .shell = INDEX("{\"weight_map\":x}")},
        {TRAIN, {"index.json", "weight_map"}, .shell = INDEX("{}")},
        {TRAIN, {"index.json", "weight_map"}, .shell = INDEX("[]")},
        {TRAIN, {"index.json", "weight_map"}, .shell = MAP("[]")},
        {TRAIN, {"index.json", "weight_map"}, .shell = MAP("\"" SHARD "\"")},
        {TRAIN, {"index.json", "weight_map"}, .shell = MAP("null")},
        {TRAIN, {NORM, "in this folder"}, .shell = MAP("{\"" NORM "\":7}")},
        {TRAIN, {NORM, "in this folder"}, .shell = MAP("{\"" NORM "\":null}")},
        {TRAIN, {NORM, "in this folder"}, .shell = MAP("{\"" NORM "\":\"\"}")},
        {TRAIN, {NORM, "in this folder"}, .shell = MAP("{\"" NORM "\":\"..\"}")},
        {TRAIN, {NORM, "in this folder"}, .shell = MAP("{\"" NORM "\":\"../model/" SHARD "\"}")},
        {TRAIN, {NORM, "in this folder"}, .shell = MAP("{\"" NORM "\":\"/etc/passwd\"}")},
        {TRAIN, {NORM, "twice"}, .shell = MAP("{\"" NORM "\":\"a\",\"" NORM "\":\"a\"}")},
        {TRAIN, {"absent.bin: is missing"}, .shell = MAP("{\"" NORM "\":\"absent.bin\"}")},
        {TRAIN, {"byte 0"}, .shell = MAP("{\"" NORM "\":\"config.json\"}")},
        {TRAIN, {"tensor x", "not in " SHARD}, .shell = MAP("{\"x\":\"" SHARD "\"}")},
        {TRAIN, {SHARD, "not in the weight_map"}, .shell = MAP("{\"" NORM "\":\"" SHARD "\"}")},
        {TRAIN, {"missing"}, .shell = MAP("{}")},
        {TRAIN, {"index.json: is a folder"}, .shell = BIN("rm $f && mkdir $f.index.json")},
    };
    CHECK(table);
}

/* A folder as transformers and bitsandbytes saved it; its weights in $f. */
#define BNB(name, spoil)                                                                           \
    "rm -r model && cp -r " GOLDEN "bnb/" name " model && cd model && f=model.safetensors "        \
    "&& " spoil
#define DQ(script) BNB("nf4-dq", SED script " $f")
#define CONFIG(script) BNB("nf4-dq", SED script " config.json")

Test(bad_bases, bitsandbytes)
{
    static const refusal table[] = {
        {TRAIN, {"config.json", "fp8"}, .shell = CONFIG("s/bitsandbytes/fp8/")},
        {TRAIN, {"config.json", "gptq"}, .shell = CONFIG("s/bitsandbytes/gptq/")},
        {TRAIN,
         {"load_in_4bit"},
         .shell = CONFIG("'s/\"load_in_4bit\": true/\"load_in_4bit\": false/'")},
        {TRAIN,
         {"load_in_8bit"},
         .shell = CONFIG("'s/\"load_in_8bit\": false/\"load_in_8bit\": true/'")},
        {TRAIN,
         {"load_in_4bit"},
         .shell = CONFIG("'s/\"load_in_4bit\": true/\"load_in_4bit\": 1/'")},
        {TRAIN, {"bnb_4bit_quant_type int4"}, .shell = CONFIG("'s/\"nf4\"/\"int4\"/'")},
        {TRAIN,
         {"quantization_config", "object"},
         .shell = CONFIG("'/\"quantization_config\"/,/}/c\"quantization_config\":7,'")},
        {TRAIN, {"q_proj.weight", "shape"}, .shell = CONFIG("'/\"quantization_config\"/,/}/d'")},
        {TRAIN, {"no weight is quantised"}, .shell = "cp " GOLDEN "bnb/nf4/config.json model"},
        {TRAIN,
         {"no weight is quantised"},
         .shell = DQ("'s/bitsandbytes__nf4/bitsandbytes__xf4/g'")},
        {TRAIN, {"another type"}, .shell = DQ("'s/bitsandbytes__nf4/bitsandbytes__fp4/g'")},
        {TRAIN, {"another type"}, .shell = DQ("'s/\"nf4\"/\"nf5\"/'")},
        {TRAIN, {"blocksize"}, .shell = DQ("'s/\"blocksize\": 64/\"blocksize\": 63/'")},
        {TRAIN, {"nested_blocksize"}, .shell = DQ("'s/_blocksize\": 256/_blocksize\": 999/'")},
        {TRAIN, {"another dtype"}, .shell = DQ("'s/float16/float64/'")},
        {TRAIN, {"half a byte"}, .shell = DQ("'s/\\[352, 48\\]/[352, 49]/'")},
        {TRAIN, {".absmax is missing"}, .shell = DQ("'s/absmax\"/absmay\"/g'")},
        {TRAIN,
         {".nested_quant_map is missing"},
         .shell = DQ("'s/nested_quant_map\"/nested_quant_mbp\"/g'")},
        {TRAIN, {"weight:1:"}, .shell = DQ("'s/{\"quant_type\"/[\"quant_type\"/'")},
        {TRAIN, {"complete"}, .shell = BNB("fp4", "truncate -s -10 $f")},
        {TRAIN, {"no weight is quantised"}, .shell = BNB("int8", SED "'s/SCB\"/SCX\"/g' $f")},
        {TRAIN,
         {"weight_farmat", "unexpected"},
         .shell = BNB("int8", SED "'s/weight_format\"/weight_farmat\"/g' $f")},
        {TRAIN, {"model-00002-of-00003", "missing"}, .shell = BNB("nf4", "rm model-00002*")},
    };
    CHECK(table);
}

/* Two small files of a split model. */
#define SPLIT(spoil)                                                                               \
    "s=" GOLDEN "gguf_split.seed; a=m-00001-of-00002.gguf; b=m-00002-of-00002.gguf; "              \
    "n=$(od -An -tu4 -N4 $s); tail -c +5 $s | head -c $n > $a && tail -c +$((5 + n)) $s > $b "     \
    "&& " spoil
#define EVAL_SPLIT "eval --model m-00001-of-00002.gguf --data text.jsonl "

Test(bad_bases, split_gguf)
{
    static const refusal table[] = {
        {EVAL_SPLIT,
         {"token_embd.weight", "missing"},
         .shell = SPLIT("true")}, /* which is no whole model */
        {EVAL_SPLIT, {"m-00002-of-00002.gguf: is missing"}, .shell = SPLIT("rm $b")},
        {EVAL_SPLIT, {"shard 1 of 2, want 2 of 2"}, .shell = SPLIT("cp $a $b")},
        {EVAL_SPLIT, {"shard 2 of 2", "first one"}, .shell = SPLIT("cp $b $a")},
        {EVAL_SPLIT, {"m-00002-of-00002.gguf", "complete"}, .shell = SPLIT("truncate -s -40 $b")},
        {EVAL_SPLIT, {"m-00002-of-00002.gguf", "byte 4"}, .shell = SPLIT("truncate -s 4 $b")},
        {EVAL_SPLIT, {"not a GGUF file"}, .shell = SPLIT("echo hello > $b")},
        {EVAL_SPLIT, {"m-00002-of-00002.gguf: is missing"}, .shell = SPLIT("rm $b && mkdir $b")},
        {EVAL_SPLIT, {"m-00001-of-00002.gguf", "byte"}, .shell = SPLIT("truncate -s 50 $a")},
        {"eval --model x.gguf --data text.jsonl",
         {"should end in"},
         .shell = SPLIT("mv $a x.gguf")},
        {"eval --model m-00002-of-00002.gguf --data text.jsonl",
         {"first one"},
         .shell = SPLIT("true")},
        {EVAL_SPLIT,
         {"m-00002-of-00002.gguf: split.no 1"},
         .shell = SPLIT(SED "'s/split.count/split.counx/' $b")},
        {EVAL_SPLIT,
         {"m-00001-of-00002.gguf: split.no"},
         .shell =
             SPLIT(SED "'s/split.count/split.counx/;s/split.no\\(.....\\)./split.no\\1\\x01/' $a")},
    };
    CHECK(table);
}
