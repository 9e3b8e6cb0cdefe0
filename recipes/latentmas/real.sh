#!/usr/bin/env bash
# A real model of 0.5B parameters on GSM8K (the first 200 questions of the file), HumanEval (164) and MATH (the first 150 of levels 1 to 3):
# one agent, the team in words, in words over their cache, in latents (conversation, and chained as published), and controls.
# DATA is a folder with gsm8k_test_400.jsonl, HumanEval.jsonl.gz and math_test_500.jsonl; MODEL, OUTPUT, THREADS and TASKS can be set, too.
# Every step continues where it was interrupted. What matters most comes first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
interlat=${INTERLAT:-.venv/bin/interlat}
data=${DATA:?the folder with gsm8k_test_400.jsonl, HumanEval.jsonl.gz and math_test_500.jsonl}
output=${OUTPUT:-runs/latentmas-real}
here=recipes/latentmas

mkdir -p "$output"
head -n 200 "$data/gsm8k_test_400.jsonl" > "$output/gsm8k.jsonl"
grep -m 150 -E '"level": ?"Level [123]"' "$data/math_test_500.jsonl" > "$output/math.jsonl"
declare -A files=([gsm8k]="$output/gsm8k.jsonl" [humaneval]="$data/HumanEval.jsonl.gz" [math]="$output/math.jsonl")

ask() { # task, arrangement, variants
    # 1 means: done, but some questions did not fit.
    "$interlat" team --config $here/real.yaml --arrangement "$2" --task.kind "$1" --task.data "${files[$1]}" --output "$output/$1/$2" \
        --model "${MODEL:-Qwen/Qwen2.5-Coder-0.5B-Instruct}" --threads "${THREADS:-1}" --variants "${@:3}" || [ $? -eq 1 ]
}
tasks=(${TASKS:-gsm8k humaneval math})
for variants in "single latent" "text" "text_cache" "no_transfer shuffled_memory" "steps_0 random_alignment"; do
    for task in "${tasks[@]}"; do
        # shellcheck disable=SC2086
        ask "$task" conversation $variants
        [ "$variants" != text ] || ask "$task" published latent
    done
done
for task in "${tasks[@]}"; do
    "${PYTHON:-.venv/bin/python}" $here/real_table.py "$output/$task"
done
