#!/usr/bin/env bash
# Makes the bundled checkpoints and the recipe's table again. Every step continues where it was interrupted.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$interlat" worlds make alfworld --output $run/games --count 4000 --split train --seed 1 --mini
"$interlat" worlds make alfworld --output $run/games --count 500 --split seen --seed 1 --mini
"$interlat" worlds make alfworld --output $run/games --count 500 --split unseen --seed 1 --mini
"$interlat" collect episodes --games $run/games --split train --output $run/train.jsonl
for split in seen unseen; do
    "$interlat" collect episodes --games $run/games --split $split --output $run/$split.jsonl --no-play --draws 1
done
"$interlat" train tokenizer --episodes $run/train.jsonl --output $run/tokenizer

# Two processes with one thread each are faster on two cores than one process with two threads.
"$interlat" train scout --config $here/scout.yaml &
"$interlat" train actor --config $here/base.yaml
wait %1
"$interlat" collect --config $here/thoughts.yaml &
"$interlat" collect --config $here/thoughts.yaml --sampling.temperature 1 --output $run/thoughts-sampled
wait %1
"$interlat" collect --config $here/thoughts.yaml --prompt.ask list --output $run/thoughts-list
train() { # message kind, stores of thoughts
    local kind=$1
    shift
    "$interlat" train actor --config $here/actor.yaml --message "$kind" --output "$run/$kind" --schedule.steps 800 --thoughts "$@"
}
train latent $run/thoughts &
train text $run/thoughts $run/thoughts-sampled
wait %1
train none $run/thoughts &
train list $run/thoughts-list
wait %1
OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml
