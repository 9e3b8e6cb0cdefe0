#!/usr/bin/env bash
# Compressed senders for the latent actor, every comparison, latency and pictures. Needs what reproduce.sh makes.
# Every step continues where it was interrupted.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

short=$run/short
train() { # name, further options
    local name=$1
    shift
    "$interlat" compress --config $here/compress.yaml --output "$short/$name" "$@"
}
no_agreement="--losses.agreement 0"
several="--latent-steps 1 2 4 8 16"
# The losses are compared on shorter trainings, too, which begin at a random vector.
short_training="$several --schedule.steps 200 --schedule.warmup-steps 20 --schedule.validate-every 50 --start random"
all_losses="--losses.agreement 1 --losses.direction 0.1"
published="--losses.agreement 0.1 --losses.direction 0.1 --losses.temperature 4 --losses.reference-rows 8"

# Two processes with one thread each are faster on two cores than one process with two threads.
{
    for seed in 0 1 2; do train ours-$seed --seed $seed; done
    train two-0 --latent-steps 2 --schedule.steps 800 $no_agreement
    train two-agreement-0 --latent-steps 2 --schedule.steps 600
} &
for seed in 0 1 2; do
    train both-$seed --seed $seed --latent-steps 2 8 --schedule.steps 1000 --start random $no_agreement
done
train uncertain-start-0 --latent-steps 2 4 8 16 $no_agreement
train uncertain-start-1 --latent-steps 2 4 8 16 $no_agreement --seed 1
train resampler-0 --method resampler --sender "" $several $no_agreement
train cross-entropy-200 $short_training $no_agreement
train agreement-200 $short_training $all_losses
train published-200 $short_training $published
wait %1

evaluate() { # name, compressed sender, variants
    local name=$1 sender=$2
    shift 2
    OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml --games 200 --settings.output "$short/evaluation/$name" \
        --settings.checkpoints.compressed "$short/$sender/model" --settings.checkpoints.resampler $short/resampler-0/model \
        --settings.variants "$@"
}
evaluate ours-0 ours-0 none text latent cross_task zeros compressed:{1,2,4,8,16} rollout:{1,2,4,8,16} resampled:{1,2,4,8,16} \
    first_rows:{1,2,4,8,16} spaced_rows:{1,2,4,8,16} pooled_rows:{1,2,4,8,16} int8
for name in ours-1 ours-2 both-0 both-1 both-2 two-0 two-agreement-0 uncertain-start-0 uncertain-start-1 cross-entropy-200 agreement-200 published-200; do
    evaluate $name $name compressed:{1,2,4,8,16}
done
"$interlat" compare --config $here/compress-arms.yaml

"$interlat" evaluate latency --config $here/latency.yaml
"$interlat" plot tradeoff $short/evaluation/ours-0 --latency $short/latency --output $short
"$interlat" plot parallelism --model $short/ours-0/model --untrained $run/scout/model --thoughts $run/thoughts --output $short/parallelism
