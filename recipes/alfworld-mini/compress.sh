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
cross_entropy="--losses.distillation 0"
published="--losses.distillation 0.1 --losses.mean-cosine 0.1 --losses.temperature 4 --losses.reference-rows 8"
low_rates="--schedule.learning-rate 0.0002 --schedule.adapter-learning-rate 0.0002"
middle_rates="--schedule.learning-rate 0.0003 --schedule.adapter-learning-rate 0.0003"
several="--latent-steps 1 2 4 8 16"
# The first comparison of losses: shorter trainings that begin at a random vector.
short_training="$several --schedule.steps 200 --schedule.warmup-steps 20 --schedule.eval-every 50 --start random"

# Further draws of the evidence of the training games: two latents overfit on the first ones (docs/log.md).
"$interlat" collect episodes --games $run/games --split train --output $run/train-more.jsonl --draws 5 --seed 1
"$interlat" collect --config $here/thoughts.yaml --source.data $run/train-more.jsonl --output $run/thoughts-more

# Two processes with one thread each are faster on two cores than one process with two threads.
{
    # Two latents: the hint says that both objects' places belong in them, they learn on without it, and at last with
    # more agreement.
    for seed in 0 1 2; do
        train hinted-$seed --seed $seed --latent-steps 2 --schedule.steps 800 --losses.lens-distillation 0.5
        train settled-$seed --seed $seed --latent-steps 2 --schedule.steps 400 --sender $short/hinted-$seed/model $low_rates
        train further-$seed --seed $seed --latent-steps 2 --schedule.steps 400 --sender $short/settled-$seed/model \
            $low_rates --losses.distillation 8
    done
    # Instead of the second and the third stage: one on further draws, at the full rate.
    for seed in 0 1 2; do
        train fresh-$seed --seed $seed --latent-steps 2 --schedule.steps 400 --sender $short/hinted-$seed/model \
            --thoughts $run/thoughts-more
    done
    # Or, from the second stage: further draws, and what the actor did in these games with two latents (on-policy), at
    # every position of its replies.
    for draw in 0 1 2 3; do
        seed=$((draw % 3))
        OMP_NUM_THREADS=1 "$interlat" evaluate --config $here/evaluate.yaml --episodes $run/train-more.jsonl --draw $draw \
            --limit 4000 --threads 1 --settings.output "$short/played/$seed-draw-$draw" \
            --settings.checkpoints.compressed $short/hinted-$seed/model --settings.variants compressed:2
    done
    on_policy="$middle_rates --thoughts $run/thoughts-more --on-policy"
    for seed in 0 1 2; do
        train played-$seed --seed $seed --latent-steps 2 --schedule.steps 450 --sender $short/settled-$seed/model \
            --losses.distillation 8 --losses.min-position-weight 0.3 $on_policy $short/played/{0-draw-0,1-draw-1,2-draw-2,0-draw-3}/results.jsonl
    done
    # And from there: in the same played games also what the expert would have done in the actor's place.
    for seed in 0 1 2; do
        train corrected-$seed --seed $seed --latent-steps 2 --schedule.steps 700 --sender $short/played-$seed/model \
            --losses.distillation 4 --losses.min-position-weight 0.3 --dagger $on_policy \
            $short/played/{0-draw-0,1-draw-1,2-draw-2,0-draw-3}/results.jsonl
    done
    # Once more, on what the actor does with these senders.
    for played in 0-draw-4 1-draw-2; do
        seed=${played%-draw*}
        OMP_NUM_THREADS=1 "$interlat" evaluate --config $here/evaluate.yaml --episodes $run/train-more.jsonl \
            --draw ${played#*draw-} --limit 4000 --threads 1 --settings.output "$short/played/again-$played" \
            --settings.checkpoints.compressed $short/corrected-$seed/model --settings.variants compressed:2
    done
    for seed in 0 1 2; do
        train again-$seed --seed $seed --latent-steps 2 --schedule.steps 300 --sender $short/corrected-$seed/model \
            $low_rates --thoughts $run/thoughts-more --losses.distillation 4 --losses.min-position-weight 0.3 --dagger --on-policy \
            $short/played/again-{0-draw-4,1-draw-2}/results.jsonl
    done
    # Instead of the last three, without the floor and for longer.
    train distilled-1 --seed 1 --latent-steps 2 --schedule.steps 600 --sender $short/settled-1/model \
        $on_policy $short/played/{0-draw-0,1-draw-1,2-draw-2,0-draw-3}/results.jsonl
    train heavy-0 --seed 0 --latent-steps 2 --schedule.steps 400 --sender $short/settled-0/model --losses.distillation 8
    # Without a hint only seed 0 learns the second place, and from there the agreement helps.
    for seed in 0 1 2; do train two-first-$seed --seed $seed --latent-steps 2 --schedule.steps 800 $cross_entropy; done
    train two-0 --latent-steps 2 --schedule.steps 400 --sender $short/two-first-0/model
    train hint-0 --seed 0 --latent-steps 2 --schedule.steps 800 $cross_entropy --losses.lens-distillation 0.3
    train hint-1 --seed 1 --latent-steps 2 --schedule.steps 800 $cross_entropy --losses.lens-distillation 0.1
    train hint-2 --seed 2 --latent-steps 2 --schedule.steps 800 $cross_entropy --losses.lens-distillation 0.3
    train follow-1 --seed 1 --latent-steps 2 --schedule.steps 400 --sender $short/hint-1/model
    train two-agreement-0 --latent-steps 2 --schedule.steps 600
} &
for seed in 0 1 2; do train ours-$seed --seed $seed; done
train cross-entropy-0 $cross_entropy
train published-0 $published
for seed in 0 1; do
    train both-$seed --seed $seed --latent-steps 2 8 --schedule.steps 1000 --start random $cross_entropy
    train uncertain-start-$seed --seed $seed --latent-steps 2 4 8 16 $cross_entropy
done
train random-start-0 --latent-steps 2 4 8 16 --start random $cross_entropy
train resampler-0 --method resampler --sender "" $several $cross_entropy
train cross-entropy-200 $short_training $cross_entropy
train agreement-200 $short_training --losses.distillation 1 --losses.mean-cosine 0.1
wait %1

evaluate() { # games of each split, folder, compressed sender or "", variants
    local games=$1 name=$2 sender=$3
    shift 3
    OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml --limit "$games" --settings.output "$short/$name" \
        ${sender:+--settings.checkpoints.compressed "$short/$sender/model"} \
        --settings.checkpoints.resampler $short/resampler-0/model --settings.variants "$@"
}
evaluate 200 evaluation/rows "" none text latent cross_task int8 rollout:{1,2,4,8,16} first_rows:{1,2,4,8,16} \
    spaced_rows:{1,2,4,8,16} pooled_rows:{1,2,4,8,16}
evaluate 200 evaluation/resampler-0 "" resampled:{1,2,4,8,16}
evaluate 200 evaluation/ours-0 ours-0 compressed:{1,2,4,8,16}
for name in ours-1 ours-2 cross-entropy-0 published-0; do evaluate 200 evaluation/$name $name compressed:8; done
for name in {hinted,fresh,settled,further,played,corrected}-{0,1,2} distilled-1 two-0 two-first-{0,1,2} two-agreement-0; do
    evaluate 200 evaluation/$name $name compressed:2
done
for name in both-0 both-1; do evaluate 200 evaluation/$name $name compressed:{2,8}; done
for name in uncertain-start-0 uncertain-start-1 random-start-0; do
    evaluate 200 evaluation/$name $name compressed:{1,2,4,8,16}
done
for name in cross-entropy-200 agreement-200; do evaluate 200 evaluation/$name $name compressed:{2,8}; done

# What the claims rest on, on all held-out games.
evaluate 500 all-games/rows "" none text latent rollout:2 rollout:8 first_rows:2 first_rows:8
for seed in 0 1 2; do
    evaluate 500 all-games/ours-$seed ours-$seed compressed:8
    for name in hinted fresh settled further played corrected again two-first; do evaluate 500 all-games/$name-$seed $name-$seed compressed:2; done
done
for name in distilled-1 two-0 heavy-0 hint-{0,1,2} follow-1; do evaluate 500 all-games/$name $name compressed:2; done
evaluate 500 all-games/cross-entropy-0 cross-entropy-0 compressed:8
for baseline in "full message" "first rows, 2" "first rows, 8" "untrained steps, 2" "untrained steps, 8"; do
    "$interlat" compare --config $here/compress-arms-all.yaml --baseline "$baseline" --output "$short/comparison-all/$baseline"
done

# The same games on four further draws of the evidence, for two latents: which of two equal places is right is luck.
for split in seen unseen; do
    "$interlat" collect episodes --games $run/games --split $split --output $run/$split-more.jsonl --draws 4 --seed 7 --no-play
done
for draw in 0 1 2 3; do
    for name in {corrected,again,further}-{0,1,2} distilled-1 played-1; do
        OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml --limit 500 --draw $draw \
            --episodes $run/seen-more.jsonl $run/unseen-more.jsonl --settings.batch-size 100 \
            --settings.output $short/more-draws/$name-draw-$draw --settings.checkpoints.compressed $short/$name/model \
            --settings.variants $([ $name = further-0 ] && echo latent) compressed:2
    done
done
for arms in compress-arms compress-arms-draws compress-arms-few; do "$interlat" compare --config $here/$arms.yaml; done

"$interlat" evaluate latency --config $here/latency.yaml
"$interlat" plot tradeoff $short/all-games/{rows,ours-{0,1,2},corrected-{0,1,2}} --latency $short/latency --output $short
"$interlat" plot parallelism --model $short/ours-0/model --untrained $run/scout/model --thoughts $run/thoughts --output $short/parallelism
