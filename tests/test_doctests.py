"""Examples in docstrings are true: they run, on the embedded model."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "atman_bench"
MODULES = sorted(
    "atman_bench." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for room in ("api", "testing")
    for path in (ROOT / room).glob("*.py")
    if ">>>" in path.read_text()
)


def test_the_public_functions_have_examples():
    assert {"atman_bench.api.explain", "atman_bench.api.explanation", "atman_bench.api.evaluation"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name):
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed
