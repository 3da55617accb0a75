# `make demo` and `make test` need nothing but Python 3.11+ (with venv), make and the network on their first run.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-system dft test-dft lint docs clean

BIN := .venv/bin
PACKAGES := registry predictors workers api migrations
# One thread per process, one process per core: more of them spin against each other.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# What would write to the home folder or to /tmp otherwise.
export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export TORCHINDUCTOR_CACHE_DIR := $(CURDIR)/.cache/torchinductor
export DGLBACKEND := pytorch
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export DGLDEFAULTDIR := $(CURDIR)/.cache/dgl

help:
	@echo "make demo | test | test-system | dft | lint | docs | bench-NAME | clean"

.venv/installed: pyproject.toml constraints.txt
	@python=$$(for name in python3.11 python3 python3.12 python3.13 python; do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$name"; break; fi; \
	  done); \
	if [ -z "$$python" ]; then \
	    echo "Motherlode needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || echo none). Install python3.11." >&2; \
	    exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$python has no venv module: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; \
	fi; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e '.[predictors,potentials,dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/lode demo

test: .venv/installed
	LODE_TEST_SERVERS=embedded $(BIN)/python -m pytest -n 2

# What touches the database, on the PostgreSQL of this machine, where there is one; but for kills, whole rounds and the
# command line, which take their time and ask by the same SQL.
test-system: .venv/installed
	@if ! command -v postgres >/dev/null; then \
	    echo "no postgres on PATH: tested on the embedded PostgreSQL only"; \
	else \
	    LODE_TEST_SERVERS=system $(BIN)/python -m pytest -n 2 -m database \
	        --ignore tests/faults --ignore tests/flow --ignore tests/api/cli; \
	fi

# GPAW, which is built here: it wants the headers of libxc and a BLAS (Debian: libxc-dev libopenblas-dev libopenmpi-dev
# openmpi-bin). Without it the tests of real DFT are skipped.
dft: .venv/installed
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e '.[dft]'

# What every engine promises, asked of real DFT too: minutes.
test-dft: dft
	LODE_TEST_DFT=1 $(BIN)/python -m pytest -n 2 tests/workers/engines tests/flow/test_dft.py

# The drift check of migrations against models is a test: tests/registry/test_schema.py.
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A test fails while a committed page differs from what this writes: tests/registry/test_schema_page.py, test_filters_page.py.
docs: .venv/installed
	$(BIN)/python -m registry.schema_page docs/schema.md
	$(BIN)/python -m registry.filters_page docs/filters.md

bench-%: .venv/installed
	$(BIN)/python -m benchmarks.$*

clean:
	rm -rf .venv .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
