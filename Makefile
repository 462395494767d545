PYTHON ?= python3
RESULTS ?= build/eval
BIN := .venv/bin
# No target needs a model hub: one that reaches for it by mistake should fail at once.
export HF_HUB_OFFLINE ?= 1

.PHONY: setup eval reproduce test lowest lint fmt check docs readme bench bench-inseq clean

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

# The broadest of the tests with the lowest versions that pyproject.toml allows. addopts leaves out the checks of shapes:
# jaxtyping's plug-in for pytest works from later versions on.
LOWEST := engine edit contract adaptive rules picture_methods faithfulness metrics statistics tiny_text tiny_magma loading \
	facts squad images config runner store compaction sweep accuracy tables figures heatmap report_page api explanations \
	explain_cli cli habits hub doctests reproduce proxy_spex quantize pull ray

lowest: .venv-lowest/ready
	.venv-lowest/bin/pytest --override-ini addopts='--strict-markers --strict-config -q' $(LOWEST:%=tests/test_%.py)

.venv-lowest/ready: pyproject.toml setup.py constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check --editable '.[gguf,onnx,ray,int8,spex]' hypothesis pytest \
		--constraint constraints-lowest.txt
	touch $@

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

# The README's commands from a wheel in an empty environment, one by one, with their seconds.
readme: setup
	$(BIN)/python scripts/readme_commands.py --constraints constraints.txt

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
	rm -rf .venv .venv-inseq .venv-lowest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
