PYTHON ?= python3
RESULTS ?= build/eval
BIN := .venv/bin
# No target needs a model hub: one that reaches for it by mistake should fail at once.
export HF_HUB_OFFLINE ?= 1

.PHONY: setup eval reproduce test lint fmt check bench clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	touch $@

eval: setup
	$(BIN)/atman-bench eval --limit 40 --results $(RESULTS)

# Every table and figure of the paper on the embedded models; goes on where it was stopped.
reproduce: setup
	$(BIN)/atman-bench reproduce all --preset tiny --results results/reproduce-tiny

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fmt: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test

bench: setup
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
