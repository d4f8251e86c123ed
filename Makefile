# One house, one gate: `make test` is what a person runs before sharing, and what CI runs.
#
# `make venv` builds .venv from hash-locked requirements with any Python >= 3.11; every other
# target builds it first when it is missing or its lock has changed. `make help` lists targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.stamp

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python on the path that is new enough; `make venv PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help venv lock fmt lint types walls check tests test demo examples bench bench-quick simulate \
	chaos models fuzz wheel clean
help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

venv: $(STAMP)  ## Build .venv from the locks

$(STAMP): locks/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "expected a Python >= 3.11 on PATH; pass PYTHON=..." >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --require-hashes -r locks/dev.txt
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	touch $@

# Locks are requirement files with hashes, for every platform at once, and not uv's own lock
# format: that one writes the address of the registry it resolved against into every entry, so a
# lock made behind a mirror would send everyone else to that mirror. Hashes pin the contents and
# leave the place to the reader's own configuration.
UV_COMPILE := $(VENV)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock:  ## Regenerate locks/ (LOCK_ARGS=--upgrade takes newer versions)
	test -x $(VENV)/bin/uv || { $(PYTHON) -m venv $(VENV) && $(PY) -m pip install --quiet uv; }
	$(UV_COMPILE) $(LOCK_ARGS) -o locks/runtime.txt
	$(UV_COMPILE) $(LOCK_ARGS) --all-extras --group dev -o locks/dev.txt

# --- the fast part -------------------------------------------------------------------------

JOBS ?= 4
PYTEST := $(PY) -m pytest -n $(JOBS) --dist worksteal

fmt: $(STAMP)  ## Format, and mend what can be mended
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix-only --quiet

lint: $(STAMP)  ## Rules of style, and the format
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: $(STAMP)  ## Two type checkers, both strict
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright

walls: $(STAMP)  ## Which room may import which
	$(VENV)/bin/lint-imports --no-cache --no-logo

check: lint types walls  ## The fast part: lint, types, walls, tests that are not slow
	$(PYTEST) -m "not slow"

# --- the gate ------------------------------------------------------------------------------

tests: $(STAMP)  ## Every test, the slow ones too (ARGS="-k word" for some)
	-bash tools/need_spin.sh
	-sh tools/need_pgbouncer.sh $(VENV)/pgbouncer
	$(PYTEST) $(ARGS)

test: $(STAMP)  ## The gate: everything that must hold before a change is shared
	$(PY) tools/gate.py

wheel: $(STAMP)  ## Build the wheel and try it in a clean environment
	rm -rf build/wheel
	$(VENV)/bin/hatchling build -t wheel -d build/wheel
	$(PY) tools/test_wheel.py build/wheel/*.whl

SEEDS ?= 200
simulate: $(STAMP)  ## Simulated fleets under faults (SEEDS=200)
	PYTHONHASHSEED=0 $(PY) -m simulation --seeds $(SEEDS) --all-bugs

MINUTES ?= 10
chaos: $(STAMP)  ## Real processes under real signals (STORE=sqlite or postgres, MINUTES=10)
	$(PY) -m chaos --store $(STORE) --minutes $(MINUTES)

models: $(STAMP)  ## Check the protocol models exhaustively (ARGS=--full for the long campaign)
	-bash tools/need_spin.sh
	$(PY) -m models $(ARGS)

fuzz: $(STAMP)  ## Hostile input, much of it and new each time
	DULY_TEST_HYPOTHESIS=long $(PY) -m pytest tests/fuzz tests/server/api/test_document.py \
		--timeout=1800 $(ARGS)

bench: $(STAMP)  ## Measure, and draw what was measured (PEERS=all LINE=A,B ROUNDS=3 SCALE=1)
	$(PY) -m bench

bench-quick: $(STAMP)  ## The share of the benchmarks that the gate can afford
	$(PY) -m bench --quick

# --- for people ----------------------------------------------------------------------------

STORE ?= sqlite
demo: $(STAMP)  ## Kill a worker and see its work finished (STORE=sqlite or postgres)
	STORE=$(STORE) $(PY) demo/kill.py

examples: $(STAMP)  ## The examples' whole stories, with their figures (about six minutes)
	$(PY) -m examples.daily_orders.run
	$(PY) -m examples.morning_batch.run

clean:  ## Remove everything that was made, .venv too
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
