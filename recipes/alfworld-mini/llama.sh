#!/usr/bin/env bash
# Receivers of another architecture, width and tokenizer (Llama, 160 dimensions, 900 tokens) with the Qwen2 scout's messages.
# Needs the games, episodes, scout and thoughts that reproduce.sh makes. Every step continues where it was interrupted.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$interlat" train tokenizer --episodes $run/train.jsonl --output $run/llama-tokenizer --family llama --vocabulary-size 900
"$interlat" train actor --config $here/llama-base.yaml
# What 700 steps left undone, see README.md.
"$interlat" train actor --config $here/llama-base.yaml --start $run/llama-base/model --output $run/llama-base-2 \
    --schedule.steps 500 --schedule.learning-rate 0.0015 --schedule.eval-every 250
train() { # message kind, stores of thoughts
    local kind=$1
    shift
    "$interlat" train actor --config $here/actor.yaml --start $run/llama-base-2/model --message "$kind" \
        --output "$run/llama-$kind" --schedule.steps 800 --thoughts "$@"
}
train latent $run/thoughts &
train text $run/thoughts $run/thoughts-sampled
wait %1
OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml --limit 200 --settings.output $run/llama-evaluation \
    --settings.variants text latent latent_unsent cross_task zeros random_rotation \
    --settings.checkpoints.text $run/llama-text/model \
    --settings.checkpoints.latent $run/llama-latent/model
