#!/usr/bin/env bash
# Every cell of tables 1 and 3, three runs each, from collection on. Every step continues where it was interrupted.
# INTERLAT is the command, such as "torchrun --nproc-per-node 8 -m interlat.cli".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
read -ra interlat <<< "${INTERLAT:-.venv/bin/interlat}"
run=runs/interlat
here=recipes/interlat

"${interlat[@]}" collect --config $here/collect.yaml
"${interlat[@]}" train actor --config $here/actor.yaml
"${interlat[@]}" train actor --config $here/baseline.yaml
"${interlat[@]}" train actor --config $here/baseline.yaml --message none --output $run/actor-none
for latents in 8 16 32 64 128; do
    "${interlat[@]}" compress --config $here/compress.yaml --latent-steps $latents --losses.reference-rows $latents \
        --output $run/compressed-$latents
done
for seed in 0 1 2; do
    evaluate=("${interlat[@]}" evaluate --config $here/evaluate.yaml --seed $seed)
    "${evaluate[@]}" --output $run/evaluation/$seed
    "${evaluate[@]}" --receiver $run/actor-text/model --channels text --controls cross_task --output $run/evaluation-text/$seed
    "${evaluate[@]}" --receiver $run/actor-none/model --channels none --controls --output $run/evaluation-none/$seed
    for latents in 8 16 32 64 128; do
        "${evaluate[@]}" --sender $run/compressed-$latents/model --channels thought:$latents --controls cross_task \
            --output $run/evaluation-$latents/$seed
    done
done
