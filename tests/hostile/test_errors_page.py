"""``docs/errors.md`` says what the code says: its messages occur in it, and each class of error has a section."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from atman_bench.core import errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text()
MESSAGES = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)


@cache
def _texts() -> tuple[str, ...]:
    """All texts of the package, with … for what is filled in."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "atman_bench").rglob("*.py")]
    return tuple(
        node.value
        if isinstance(node, ast.Constant)
        else "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    )


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_occurs_in_the_code(message):
    pattern = re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)
    assert any(pattern.search(text) for text in _texts())


def test_every_class_of_error_has_a_section():
    classes = [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AtmanBenchError) and kind is not errors.AtmanBenchError
    ]
    assert sorted(re.findall(r"^## (\w+Error)", PAGE, re.MULTILINE)) == sorted(classes)


def test_a_message_is_explained_once():
    assert len(MESSAGES) == len(set(MESSAGES)) > 60
