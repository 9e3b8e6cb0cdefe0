#!/usr/bin/env bash
# Receivers of another architecture, width and tokenizer (Llama, 160 dimensions, 900 tokens) with the Qwen2 scout's messages.
# Needs the games, episodes, scout and thoughts that reproduce.sh makes. Every step continues where it was interrupted.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$interlat" train tokenizer --episodes $run/train.jsonl --output $run/llama-tokenizer --family llama --vocabulary-size 900
"$interlat" train actor --config $here/llama-base.yaml
train() { # message kind, stores of thoughts
    local kind=$1
    shift
    "$interlat" train actor --config $here/actor.yaml --start $run/llama-base/model --message "$kind" \
        --output "$run/llama-$kind" --thoughts "$@"
}
train latent $run/thoughts &
train text $run/thoughts $run/thoughts-sampled
wait %1
train none $run/thoughts
OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml --games 200 --settings.output $run/llama-evaluation \
    --settings.variants none text latent latent_unsent cross_task zeros random_rotation \
    --settings.checkpoints.none $run/llama-none/model --settings.checkpoints.text $run/llama-text/model \
    --settings.checkpoints.latent $run/llama-latent/model
