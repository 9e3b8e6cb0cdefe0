#!/usr/bin/env bash
# Every row of table 2, from collection on. Every step continues where it was interrupted.
# INTERLAT is the command, such as "torchrun --nproc-per-node 8 -m interlat.cli".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
read -ra interlat <<< "${INTERLAT:-.venv/bin/interlat}"
run=runs/math
here=recipes/math

"${interlat[@]}" collect --config $here/collect.yaml
"${interlat[@]}" train actor --config $here/actor.yaml
"${interlat[@]}" train actor --config $here/baseline.yaml
"${interlat[@]}" train actor --config $here/baseline.yaml --message none --output $run/actor-none
"${interlat[@]}" compress --config $here/compress.yaml
evaluate=("${interlat[@]}" evaluate --config $here/evaluate.yaml)
"${evaluate[@]}"
"${evaluate[@]}" --receiver $run/actor-text/model --channels text --controls cross_task --output $run/evaluation-text
"${evaluate[@]}" --receiver $run/actor-none/model --channels none --controls --output $run/evaluation-none
"${evaluate[@]}" --sender $run/compressed/model --channels thought:8 --controls cross_task --output $run/evaluation-8
