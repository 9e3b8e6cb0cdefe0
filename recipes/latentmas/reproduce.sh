#!/usr/bin/env bash
# Word problems solved by one agent, by teams that write and by teams that think, with a model trained for it from scratch.
# Every step continues where it was interrupted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
interlat=${INTERLAT:-.venv/bin/interlat}
here=recipes/latentmas

[ -f runs/arithmetic/lessons.jsonl ] || "$interlat" collect lessons --output runs/arithmetic/lessons.jsonl --count 12000
[ -d runs/arithmetic/tokenizer ] || "$interlat" train tokenizer --conversations runs/arithmetic/lessons.jsonl \
    --output runs/arithmetic/tokenizer --vocabulary-size 700
"$interlat" train actor --config $here/solver.yaml
"$interlat" team --config $here/arithmetic-sequential.yaml
