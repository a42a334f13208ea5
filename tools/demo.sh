#!/bin/sh
# demo.sh - the whole way on a fresh Debian or Ubuntu, in under 10 minutes on two cores: installs
# what is missing, builds graft, fetches a small model (SmolLM2-135M-Instruct, 98 MB), teaches it
# what graft is from tools/demo/graft-faq.jsonl, shows eval loss and answers before and after, exports
# the adapter for Ollama, merges adapter and model, and asks the merged model. Everything that it
# writes lies in build/.
# Running it again trains anew, and installs, builds and fetches only what is missing.
set -eu
cd "$(dirname "$0")/.."
began=$(date +%s)
out=build/demo
graft=build/bin/graft
train=tools/demo/graft-faq.jsonl
held_out=tools/demo/graft-faq-eval.jsonl

say() {
    printf '\n== %s (%d s so far)\n' "$*" $(($(date +%s) - began))
}
show() { # prints a command, then runs it
    echo "\$ $*"
    "$@"
}
ask() { # the rest: options that name the model
    for question in 1 2 3; do
        sed -n "s/.*\"user\", \"content\": \"\([^\"]*\)\".*/Q: \1/p" "$out/question-$question.json"
        printf 'A: '
        "$graft" generate "$@" --messages "$out/question-$question.json" --max-new-tokens 48
        echo
    done
}
loss_of() {
    sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p' "$1"
}

say "1/9 packages"
tools/setup.sh build model

say "2/9 build"
mkdir -p build
if [ ! -f build/CMakeCache.txt ]; then
    cmake -B build -G Ninja >build/configure.log 2>&1 || {
        cat build/configure.log
        exit 1
    }
fi
cmake --build build --target graft -j "$(nproc)" >build/build.log 2>&1 || {
    tail -n 100 build/build.log
    exit 1
}
build/bin/graft --version

say "3/9 model"
model=$(tools/model.sh)
echo "$model"

say "4/9 data"
rm -rf "$out"
mkdir -p "$out"
# Three held-out questions: asked in these words in no example of the training data.
question=0
for line in 1 8 22; do
    question=$((question + 1))
    sed -n "${line}p" "$held_out" | sed 's/, {"role": "assistant".*/]}/' >"$out/question-$question.json"
done
cat "$out"/question-?.json >"$out/prompts.jsonl"
show "$graft" data --model "$model" --data "$train" --eval-data "$held_out"

say "5/9 before training"
show "$graft" eval --model "$model" --data "$held_out" --json >"$out/before.json"
cat "$out/before.json"
ask --model "$model"

say "6/9 training"
show "$graft" train --model "$model" --data "$train" --eval-data "$held_out" \
    --output-dir "$out/adapter" --num-train-epochs 4 --batch-size 8 --learning-rate 1e-3 \
    --lora-r 16 --lora-alpha 32 --warmup-ratio 0.1 --lr-scheduler-type cosine --logging-steps 5 \
    --sample-prompts "$out/prompts.jsonl"

say "7/9 after training"
show "$graft" eval --model "$model" --adapter "$out/adapter" --data "$held_out" --json \
    >"$out/after.json"
cat "$out/after.json"
ask --model "$model" --adapter "$out/adapter"

say "8/9 exporting for Ollama and llama.cpp"
show "$graft" export --model "$model" --adapter "$out/adapter" --format gguf,ollama --output "$out/ollama"

say "9/9 merging, and asking the merged model"
show "$graft" merge --model "$model" --adapter "$out/adapter" --output-dir "$out/merged" --dtype bf16 \
    --verify
ask --model "$out/merged"

say "done"
echo "eval loss: $(loss_of "$out/before.json") before, $(loss_of "$out/after.json") after"
cat <<END
adapter:       $out/adapter   (PEFT; tokenizer, metrics.jsonl, run.json)
report:        $PWD/$out/adapter/report.html   (open it in a browser)
Ollama folder: $PWD/$out/ollama   (ollama create graft-demo -f $out/ollama/Modelfile)
merged model:  $out/merged
go on:         $graft chat --model $out/merged
END
