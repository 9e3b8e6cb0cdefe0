# What the scripts of this recipe share: names, and one thread a process. To be sourced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
interlat=${INTERLAT:-.venv/bin/interlat}
run=runs/alfworld-mini
here=recipes/alfworld-mini
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
export MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000
