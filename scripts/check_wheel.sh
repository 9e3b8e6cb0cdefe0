#!/bin/sh
# Builds the wheel and installs it, as a user would, under each Python given; then runs a message and an evaluation with the
# bundled models from an empty directory.
#   sh scripts/check_wheel.sh python3.11 python3.12 ...
# A Python that is not on this machine is named and passed over; that none is there is a failure.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
checked=0
for python in "$@"; do
    if ! "$python" -c "import sys" 2>/dev/null; then
        echo "$python: not on this machine, passed over"
        continue
    fi
    if [ "$checked" = 0 ]; then
        "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$place/dist" "$root"
    fi
    "$python" -m venv "$place/venv"
    "$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$place"/dist/*.whl
    mkdir "$place/empty"
    cd "$place/empty"
    "$place/venv/bin/interlat" --version
    cat > message.py <<'EOF'
import interlat

scout = interlat.load(interlat.bundled("alfworld-mini/scout"))
message = scout.write("apple: today countertop 1.", max_new_tokens=8)
message.save("message.safetensors")
assert len(interlat.load_message("message.safetensors").hidden_states) == len(message.hidden_states) > 0
EOF
    "$place/venv/bin/python" message.py
    scout=$("$place/venv/bin/python" -c "import interlat; print(interlat.bundled('alfworld-mini/scout'))")
    "$place/venv/bin/interlat" evaluate --sender "$scout" --environment arithmetic --count 4 --channels none text cache \
        --max-plan-tokens 8 --max-new-tokens 8 --output run >said 2>&1 || { cat said; exit 1; }
    cd "$root"
    rm -rf "$place/venv" "$place/empty"
    echo "$python ($("$python" -c 'import platform; print(platform.python_version())')): the wheel works"
    checked=$((checked + 1))
done
[ "$checked" -gt 0 ]
