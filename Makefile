PYTHON ?= python3
RESULTS ?= build/eval
BIN := .venv/bin
# No target needs a model hub: one that reaches for it by mistake should fail at once.
export HF_HUB_OFFLINE ?= 1

.PHONY: setup eval reproduce test lint fmt check docs bench bench-inseq clean

setup: .venv/ready

.venv/ready: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,docs]' --constraint constraints.txt
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

# The documentation, into build/site; a broken link, or a page that needs a network, is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Two minutes, on the embedded model; compares itself with the last row of benchmarks/history.jsonl.
bench: setup
	$(BIN)/python benchmarks/run.py

# What `make bench` compares with inseq in. Its requirements contradict ours, so it has an environment of its own: the same
# torch and transformers, and of inseq only what it imports.
bench-inseq: .venv-inseq/ready

.venv-inseq/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-inseq
	.venv-inseq/bin/pip install --quiet --disable-pip-version-check --editable . --constraint constraints.txt
	.venv-inseq/bin/pip install --quiet --disable-pip-version-check --no-deps inseq==0.7.1 treescope==0.1.10
	touch $@

clean:
	rm -rf .venv .venv-inseq build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
