#!/usr/bin/env bash
# The small run: a model from scratch, its thoughts, three receivers and a compressed sender, with SEEDS trainings of each; then
# all channels and controls. Every step continues where it was interrupted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
interlat=${INTERLAT:-.venv/bin/interlat}
run=runs/math/mini
here=recipes/math/mini
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

[ -f $run/lessons.jsonl ] || "$interlat" collect lessons --output $run/lessons.jsonl --count 8000 --problems.statements 2 6 \
    --problems.split-facts
[ -d $run/tokenizer ] || "$interlat" train tokenizer --conversations $run/lessons.jsonl --output $run/tokenizer --vocabulary-size 700
"$interlat" train actor --config $here/base.yaml
"$interlat" collect --config $here/thoughts.yaml
for seed in ${SEEDS:-0 1 2}; do
    for message in latent text none; do
        "$interlat" train actor --config $here/actor.yaml --message $message --seed "$seed" --output $run/$message-"$seed"
    done
    "$interlat" compress --config $here/compress.yaml --seed "$seed" --receiver $run/latent-"$seed"/model --output $run/compressed-"$seed"
    evaluate=("$interlat" evaluate --config $here/evaluate.yaml)
    "${evaluate[@]}" --receiver $run/latent-"$seed"/model --output $run/evaluation-"$seed"
    "${evaluate[@]}" --receiver $run/text-"$seed"/model --channels text --controls cross_task --output $run/evaluation-text-"$seed"
    "${evaluate[@]}" --receiver $run/none-"$seed"/model --channels none --controls --draws 1 --output $run/evaluation-none-"$seed"
    "${evaluate[@]}" --sender $run/compressed-"$seed"/model --receiver $run/latent-"$seed"/model --channels thought:8 \
        --controls cross_task zeros --output $run/evaluation-8-"$seed"
done
