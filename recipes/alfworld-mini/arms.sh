#!/usr/bin/env bash
# Which parts of the latent actor's training help: trains every arm, plays 400 held-out games with each, compares.
# Needs what reproduce.sh makes up to the thoughts and the base. Every step continues where it was interrupted.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

contrastive="--losses.contrastive 0.5 --losses.adaptive"
plan_distillation="--losses.plan-distillation 0.05 --losses.adaptive"
curriculum="--curriculum.kind uniform"
full="$contrastive $plan_distillation $curriculum"

arm() { # name, seed, further options
    local name=$1 seed=$2
    shift 2
    "$interlat" train actor --config $here/actor.yaml --message latent --seed "$seed" \
        --output "$run/arms/$name-$seed" --schedule.eval-every 50 "$@"
}

# Two processes with one thread each are faster on two cores than one process with two threads.
{
    for seed in 0 1 2; do arm full $seed $full; done
    arm no-curriculum 0 $contrastive $plan_distillation
} &
for seed in 0 1 2; do arm cross-entropy $seed; done
arm no-separation 0 $plan_distillation $curriculum
arm no-alignment 0 $contrastive $curriculum
arm adapter 0 $full --finetune adapter
arm low-rank 0 $full --finetune lora --schedule.learning-rate 0.002
wait %1

trajectories=$run/arms/trajectories
"$interlat" collect trajectories --actor $run/arms/cross-entropy-0/model --thoughts $run/thoughts --output $trajectories \
    --limit 400 --attempts 6 --temperature 0.5
"$interlat" train preference --config $here/preference.yaml --start $run/arms/cross-entropy-0/model \
    --trajectories $trajectories --output $run/arms/preference-0

for arm in cross-entropy-{0,1,2} full-{0,1,2} no-{separation,alignment,curriculum}-0 adapter-0 low-rank-0 preference-0; do
    OMP_NUM_THREADS=2 "$interlat" evaluate --config $here/evaluate.yaml --limit 200 \
        --settings.variants latent \
        --settings.checkpoints.latent "$run/arms/$arm/model" --settings.output "$run/arms/evaluation/$arm"
done
"$interlat" compare --config $here/arms.yaml
