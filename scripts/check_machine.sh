#!/bin/sh
# Name what the machine lacks for `make setup`, with the line that installs it; quiet when all is there.
# usage: scripts/check_machine.sh [PYTHON]
set -u
python=${1:-python3}
missing=0

report() { # what it is for, then the packages of Debian/Ubuntu, Fedora and Homebrew
    missing=1
    echo "error: $1" >&2
    echo "  Debian/Ubuntu:  sudo apt-get install -y $2" >&2
    echo "  Fedora:         sudo dnf install -y $3" >&2
    echo "  macOS:          $4" >&2
}

if ! command -v "$python" >/dev/null 2>&1; then
    report "Python 3.11 or newer is needed, but there is no '$python'." \
        "python3 python3-venv" "python3" "brew install python@3.11"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    report "Python 3.11 or newer is needed, but '$python' is $("$python" -c 'import platform; print(platform.python_version())'); after installing one, name it: make setup PYTHON=python3.11" \
        "python3.11 python3.11-venv" "python3.11" "brew install python@3.11"
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    report "'$python' cannot make virtual environments: its venv module is not installed." \
        "python3-venv" "python3" "brew install python@3.11"
fi
if ! command -v g++ >/dev/null 2>&1 && ! command -v c++ >/dev/null 2>&1; then
    report "a C++ compiler is needed to build ALFWorld's planner and game engine, but there is no g++ or c++." \
        "g++" "gcc-c++" "xcode-select --install"
fi
if ! command -v cmake >/dev/null 2>&1; then
    report "cmake is needed to build ALFWorld's planner, but there is none." \
        "cmake" "cmake" "brew install cmake"
fi
exit $((missing * 2))
