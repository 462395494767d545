import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "atman_bench"

LEVELS = [
    {"core"},
    {"attention", "datasets", "metrics"},
    {"models"},
    {"methods"},
    {"profiling"},
    {"evaluation"},
    {"report"},
    {"api", "testing"},
    {"paper"},
    {"cli"},
]
"""The rooms, lowest first, as ``docs/architecture.md`` shows them; rooms of one level do not import each other."""

LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def imported_modules(path: Path) -> Iterator[str]:
    """Every import of the file, inside functions and for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported_by(path: Path) -> set[str]:
    names = (name.split(".") for name in imported_modules(path))
    return {parts[1] for parts in names if parts[0] == "atman_bench" and len(parts) > 1} & set(LEVEL)


def test_every_module_is_in_a_room():
    assert {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"} == {
        *LEVEL,
        "__init__.py",
        "__main__.py",
        "py.typed",
    }


def test_the_documentation_shows_the_same_rooms():
    text = (ROOT / "docs" / "architecture.md").read_text()
    shown = text.partition("<!-- rooms -->\n```\n")[2].partition("```")[0]
    lines = [re.split(r"\s{2,}", line)[0].split() for line in shown.splitlines()]
    assert [set(line) for line in reversed(lines)] == LEVELS


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_imports_go_downward(room):
    others = {
        f"{path.relative_to(ROOT)} imports {other}"
        for path in files_of(room)
        for other in rooms_imported_by(path) - {room}
        if LEVEL[other] >= LEVEL[room]
    }
    assert not others


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    code = "from atman_bench.cli.app import app\ntry: app(['eval', '--help'])\nexcept SystemExit: pass"
    assert not modules_after(code) & {"torch", "numpy", "pandas", "matplotlib", "transformers"}


@pytest.mark.parametrize(
    "code",
    [
        "import atman_bench.evaluation.store",
        "import pkgutil, atman_bench.report as report\n"
        "for module in pkgutil.walk_packages(report.__path__, report.__name__ + '.'): __import__(module.name)\n"
        "report.tables.metrics_in_order()",
    ],
)
def test_reports_and_the_store_do_without_torch(code):
    assert "torch" not in modules_after(code)
