# On a fresh Debian 12, `make demo` and `make test` do all the set-up that they need, and say what they install.

PYTHON ?= python3
BIN := .venv/bin
# Debian keeps mosquitto where only root looks.
export PATH := $(PATH):/usr/sbin:/sbin
SOURCES := setup.cfg pyproject.toml constraints.txt

.PHONY: help demo test check lint types coverage pytest bench docs clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:
	@echo "make demo      see it work: an embedded broker, the gateway in front of it, and each decision"
	@echo "make test      all tests; installs Debian's mosquitto, haproxy and openssl for them"
	@echo "make check     ruff and mypy only"
	@echo "make coverage  branch coverage of the layers without I/O, which must be 100 %"
	@echo "make bench     what a message costs, beside a blind relay and no gateway"
	@echo "make docs      the documentation, in docs/_build/html"
	@echo "make clean     remove what all of these made"

demo: .venv/.runs
	@$(BIN)/mgate demo

# Fast checks first, pytest last; all of them run, whatever fails.
test: .brokers .venv/.tests
	@$(MAKE) --no-print-directory --keep-going lint types coverage pytest

check: lint types

lint: .venv/.tests
	@echo "== ruff"
	@$(BIN)/ruff check .

types: .venv/.tests
	@echo "== mypy --strict"
	@$(BIN)/mypy --strict

# Only the tests that need no reactor run here: they alone must cover layers 0 to 2. tests/layers.py knows which.
coverage: .venv/.tests
	@echo "== branch coverage of layers 0 to 2"
	@$(BIN)/coverage erase
	@$(BIN)/coverage run --branch -m pytest -q --no-header $$($(BIN)/python -m tests.layers tests)
	@$(BIN)/coverage report --fail-under=100 --include="$$($(BIN)/python -m tests.layers modules)"

pytest: .venv/.tests
	@echo "== pytest"
	@$(BIN)/python -m pytest

bench: .venv/.runs
	@$(BIN)/python benchmarks/run.py

docs: .venv/.docs
	@$(BIN)/sphinx-build -W -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:
	rm -rf .venv build dist mgate.egg-info docs/_build benchmarks/build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache \
	    .ruff_cache _trial_temp*
	find . -name dropin.cache -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a step runs again when what it was made from has changed.

.venv/.made:
	@.ci/make-venv $(PYTHON)
	@touch $@

.venv/.runs: .venv/.made $(SOURCES)
	@echo "== installing mgate into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.tests: .venv/.made $(SOURCES)
	@echo "== installing mgate and what its tests need into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ .venv/.runs

.venv/.docs: .venv/.made $(SOURCES)
	@echo "== installing mgate and what its documentation needs into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@ .venv/.runs

# Not a stamp: without a broker, every run has to say so.
.PHONY: .brokers
.brokers:
	@.ci/need-brokers
