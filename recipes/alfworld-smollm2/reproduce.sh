#!/usr/bin/env bash
# Makes the bundled adapters and the table of README.md again. Every step continues where it was interrupted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
interlat=${INTERLAT:-.venv/bin/interlat}
recipe=recipes/alfworld-smollm2
run=runs/alfworld-smollm2
# Two processes with one thread each are faster on two cores than one process with two threads.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

"$interlat" models fetch smollm2-135m
"$interlat" worlds make alfworld --output $run/games --count 3500 --split train --seed 1 --mini
"$interlat" worlds make alfworld --output $run/games --count 500 --split seen --seed 1 --mini
"$interlat" worlds make alfworld --output $run/games --count 500 --split unseen --seed 1 --mini
"$interlat" collect episodes --games $run/games --split train --output $run/train.jsonl --language plain
for split in seen unseen; do
    "$interlat" collect episodes --games $run/games --split $split --output $run/$split.jsonl --language plain --no-play --draws 2
done
"$interlat" collect episodes --games $run/games --split train --output $run/train-1.jsonl --language plain --draws 1

"$interlat" train actor --config $recipe/base.yaml &
"$interlat" train scout --config $recipe/scout.yaml
wait %1
"$interlat" collect --config $recipe/thoughts.yaml
train() { # message kind, further flags
    local kind=$1
    shift
    "$interlat" train actor --config $recipe/actor.yaml --message "$kind" --output "$run/$kind" "$@"
}
train latent --sender $run/scout/model &
train text
train none
wait %1
OMP_NUM_THREADS=2 "$interlat" evaluate --config $recipe/evaluate.yaml
