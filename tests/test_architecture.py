import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "atman_bench"

LEVELS = [
    {"records", "errors", "registry", "tensors", "pictures", "chunks", "heap", "parts", "provenance"},
    {"attention", "datasets", "metrics", "profiling", "store", "pull", "scorers"},
    {"models", "engine"},
    {"methods"},
    {
        "accuracy",
        "answers",
        "chunked",
        "config",
        "prediction",
        "runner",
        "scoring",
        "api",
        "docqa",
        "examples",
        "illustrations",
        "steering",
        "report",
        "scale",
        "scale_cell",
        "naming",
        "overlays",
        "experiments",
        "outcomes",
        "reproduce",
        "requested",
        "sweep",
    },
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
"""A room is a module or package directly below ``atman_bench``."""


def rooms() -> set[str]:
    return {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__"}


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def imported_modules(path: Path) -> Iterator[str]:
    """Every import of the file, inside functions and for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported_by(path: Path) -> set[str]:
    names = (name.split(".") for name in imported_modules(path))
    return {parts[1] for parts in names if parts[0] == "atman_bench" and len(parts) > 1} & rooms()


def test_every_room_has_a_level():
    assert rooms() - {"weights"} == set(LEVEL)


@pytest.mark.parametrize("room", sorted(LEVEL))
def test_imports_go_downward(room):
    upward = {
        f"{path.relative_to(ROOT)} imports {other}"
        for path in files_of(room)
        for other in rooms_imported_by(path)
        if LEVEL[other] > LEVEL[room]
    }
    assert not upward


def test_rooms_of_one_level_do_not_import_each_other_in_a_cycle():
    edges = {room: {o for path in files_of(room) for o in rooms_imported_by(path)} - {room} for room in LEVEL}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_what_measures_and_stores_stands_alone():
    sideways = {
        f"{room} imports {other}"
        for room in LEVELS[1]
        for path in files_of(room)
        for other in rooms_imported_by(path) - {room}
        if other in LEVELS[1]
    }
    assert not sideways


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    code = "from atman_bench.cli.app import app\ntry: app(['eval', '--help'])\nexcept SystemExit: pass"
    assert not modules_after(code) & {"torch", "numpy", "pandas", "matplotlib", "transformers"}


@pytest.mark.parametrize(
    "code",
    ["import atman_bench.store", "from atman_bench.report import evaluations, heatmap, page, render, tables"],
)
def test_reports_and_the_store_do_without_torch(code):
    assert "torch" not in modules_after(code)
