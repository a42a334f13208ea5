/* test_bad_options.c - options and config keys that are wrong, unknown or cannot be kept: one clear
 * line that names them, exit code 2, nothing written. */
#include "support/refusal.h"

#include <criterion/criterion.h>

#define CONFIG TRAIN "--config c.json"
#define JSON(text) "printf '%s\\n' '" text "' > c.json"

Test(bad_options, options)
{
    static const refusal table[] = {
        {"trian --model model", {"trian", "train"}},
        {TRAIN "--lerning-rate 1", {"--lerning-rate", "--learning-rate"}},
        {TRAIN "--lora-r", {"--lora-r"}},
        {TRAIN "--lora-r 0", {"--lora-r", "0"}},
        {TRAIN "--lora-r 4.5", {"--lora-r", "4.5"}},
        {TRAIN "--lora-r 99999999999999999999", {"--lora-r"}},
        {TRAIN "--learning-rate -1", {"--learning-rate", "-1"}},
        {TRAIN "--learning-rate nan", {"--learning-rate", "nan"}},
        {TRAIN "--learning-rate 1e400", {"--learning-rate"}},
        {TRAIN "--lora-alpha 0", {"--lora-alpha"}},
        {TRAIN "--lora-dropout 1", {"--lora-dropout"}},
        {TRAIN "--batch-size 0", {"--batch-size"}},
        {TRAIN "--max-length 1", {"--max-length"}},
        {TRAIN "--overlength cut", {"--overlength", "cut", "truncate"}},
        {TRAIN "--precision fp16", {"--precision", "fp16", "bf16"}},
        {TRAIN "--device cuda", {"cuda"}},
        {TRAIN "--device cuda --threads 2", {"--threads", "--device cuda"}},
        {TRAIN "--isa plain --device cuda", {"--isa", "--device cuda"}},
        {TRAIN "--quantization nf4", {"nf4"}},
        {TRAIN "--optim adafactor", {"adafactor", "adamw_8bit", "lion"}},
        {TRAIN "--lr-scheduler-type reduce_lr_on_plateau", {"--eval-data", "--lr-scheduler-type"}},
        {TRAIN "--early-stopping-patience 2", {"--eval-data", "--early-stopping-patience"}},
        {TRAIN "--load-best-model-at-end", {"--eval-data", "--load-best-model-at-end"}},
        {TRAIN "--early-stopping-threshold 0.1", {"--early-stopping-patience"}},
        {TRAIN "--lr-scheduler-kwargs '{\"power\":2}'", {"--lr-scheduler-kwargs", "power"}},
        {TRAIN "--lr-scheduler-kwargs '{'", {"--lr-scheduler-kwargs:1:2"}},
        {TRAIN "--use-dora --lora-dropout 0.1", {"DoRA", "0.1", "--lora-dropout 0"}},
        {TRAIN "--target-modules nothing", {"nothing", "q_proj", "down_proj"}},
        {TRAIN "--target-modules '.*nothing.*'", {"nothing", "q_proj"}},
        {TRAIN "--target-modules 'a(b'", {"a(b"}},
        {TRAIN "--target-modules q_proj,nothing", {"nothing", "q_proj"}},
        {TRAIN "--layers-to-transform 7", {"7", "layers"}},
        {TRAIN "--layers-to-transform 0 --target-modules '.*q_proj'",
         {"--layers-to-transform", "--target-modules"}},
        {TRAIN "--layers-to-transform x", {"--layers-to-transform", "x"}},
        {TRAIN "--rank-pattern '{\"q_proj\":0}'", {"--rank-pattern", "q_proj"}},
        {TRAIN "--rank-pattern '{'", {"--rank-pattern"}},
        {TRAIN "--rank-pattern '{\"q_proj\":1e300}'", {"--rank-pattern", "4096"}},
        {TRAIN "--memory-limit 1K", {"1.0 KiB", "not enough", "--memory-limit"}},
        {TRAIN "--per-device-train-batch-size 4 --gradient-accumulation-steps 2",
         {"--batch-size 8"}},
        {"train --data tokens.jsonl --output-dir out", {"--model"}},
        {"train --model model --output-dir out", {"--data"}},
        {"train --model model --data tokens.jsonl", {"--output-dir"}},
        {TRAIN "--data-weights 1,2", {"--data-weights 1,2", "1 number"}},
        {TRAIN "--data-weights 0", {"--data-weights", "above 0"}},
        {TRAIN "--data-weights 1x", {"--data-weights", "1x"}},
        {TRAIN "--data-weights nan", {"--data-weights", "nan"}},
        {TRAIN "--data-weights ,", {"--data-weights", "empty"}},
        {"data --model model --data tokens.jsonl --data-weights 1,2", {"--data-weights 1,2"}},
        {TRAIN "--eval-split 0.5 --eval-data tokens.jsonl", {"--eval-data", "--eval-split"}},
        {EVAL "--learning-rate 1", {"--learning-rate"}},
        {"generate --model tiny.gguf", {"--prompt", "--messages"}},
        {CONFIG,
         {"c.json", "learning_rat", "learning_rate"},
         .shell = JSON("{\"learning_rat\":1}")},
        {CONFIG, {"c.json", "lora_r"}, .shell = JSON("{\"lora_r\":0}")},
        {CONFIG, {"c.json", "lora_r"}, .shell = JSON("{\"lora_r\":[4]}")},
        {CONFIG, {"c.json:1:13:"}, .shell = JSON("{\"lora_r\":4,}")},
        {CONFIG, {"c.json:1:13:", "lora_r", "twice"}, .shell = JSON("{\"lora_r\":4,\"lora_r\":4}")},
        {CONFIG, {"c.json", "seed", "quotes"}, .shell = JSON("{\"seed\":9007199254740995}")},
        {CONFIG, {"c.json"}, .shell = JSON("[]")},
        {CONFIG, {"c.json"}, .shell = ": > c.json"},
    };
    CHECK(table);
}
