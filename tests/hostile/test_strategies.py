"""Random damage to what loaders and the store read: it is used, or refused by an error of one line.

The examples of a run are fixed; ``HOSTILE_EXAMPLES=2000`` tries that many others of each test.
"""

import copy
import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import worlds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atman_bench.core.errors import AtmanBenchError
from atman_bench.core.records import Row, Status
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.compaction import compact
from atman_bench.evaluation.config import load_config
from atman_bench.evaluation.scoring import scored_folder
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity, StoredMap
from atman_bench.evaluation.sweep import load_sweep
from atman_bench.metrics import chosen_metrics
from atman_bench.metrics._signs import Sign
from atman_bench.profiling.grid import load_scale_config, read_scale_rows
from atman_bench.report import page
from atman_bench.report.tables import frame_of, summarise

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "0"))
damaging = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", " ", "\x1b[31m", "[/red]", "\ud800", "a\0b", "n" * 300, "../x", "/x"]
)
NUMBERS = st.sampled_from([0, -1, 1, 2**63, -(2**64), 10**30, 0.5, -0.5, 1e308, 1e-320])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def _places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be damaged: every value of a JSON document, the whole included."""
    yield place
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from _places(value, (*place, key))


@st.composite
def damaged(draw: Callable[..., Any], content: Any) -> Any:
    """A document with one to three of its values replaced, removed or, in a list, doubled."""
    changed = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = (None, *draw(st.sampled_from(list(_places(changed)))))
        if not way:
            return draw(VALUES)
        holder = changed
        for step in way[1:]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "double"])):
            case "remove":
                del holder[last]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case _:
                holder[last] = draw(VALUES)
    return changed


def _read_or_refused(read: Callable[[], object]) -> None:
    """Nothing but an error for users may come out, in one line that a terminal can show."""
    try:
        read()
    except AtmanBenchError as error:
        assert str(error)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    worlds.write_data(folder)
    return folder


def _load(dataset: str, data: Path) -> None:
    """Load a dataset, and encode all that a run would hand to a tokenizer, a store and a page."""
    spec = DATASETS.get(dataset)
    loaded = spec.load(spec.config(data=worlds.data_option(dataset, data)))
    for sample in loaded.samples:
        texts = (sample.uid, sample.prompt, sample.target, sample.group, *map(str, sample.facts.values()))
        assert all(text.encode() is not None for text in texts)
    assert all(f"{skipped.uid} {skipped.reason}".encode() is not None for skipped in loaded.skipped)


@pytest.mark.parametrize("file", worlds.DOCUMENTS)
def test_damaged_json_of_a_loader(file, data):
    dataset, content = worlds.DOCUMENTS[file]

    @damaging
    @given(damaged(content))
    def check(document: Any) -> None:
        (data / file).write_text(json.dumps(document))
        _read_or_refused(lambda: _load(dataset, data))

    try:
        check()
    finally:
        (data / file).write_text(json.dumps(content))


@pytest.mark.parametrize("file", worlds.TABLES)
def test_damaged_csv_of_a_loader(file, data):
    rows = list(csv.reader(io.StringIO(worlds.TABLES[file])))

    @damaging
    @given(damaged(rows))
    def check(table: Any) -> None:
        lines = table if isinstance(table, list) else [table]
        written = "\n".join(",".join(map(str, line)) if isinstance(line, list) else str(line) for line in lines)
        (data / file).write_bytes(written.encode(errors="surrogatepass"))
        _read_or_refused(lambda: _load("openimages", data))

    try:
        check()
    finally:
        (data / file).write_text(worlds.TABLES[file])


CONFIGURATION = {
    "model": "tiny-text",
    "dataset": "facts",
    "datasets": {"facts": {"n": 3, "split": "held_out", "template": "{context} Q: {question} A:"}},
    "methods": {"atman": {"f": 0.9, "kappa": 0.7, "layers": [0, 1]}, "lime": {"n_samples": 8}, "rollout": None},
    "metrics": ["auprc", "average_precision"],
    "sign": "positive",
    "seed": 1,
    "limit": 2,
    "results": "r",
}
GRID = {
    "models": ["random:10M"],
    "methods": ["atman", "plain:lean"],
    "tokens": [64],
    "batches": [1, None],
    "workers": [1],
    "time_limit": 5,
}
SWEEP = {"dataset": "facts", "grid": {"methods.atman.f": [0.5, 0.9], "methods.atman.kappa": [None, 0.7]}, "limit": 2}


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (CONFIGURATION, lambda path: load_config(path, {}, [])),
        (GRID, lambda path: load_scale_config(path, {})),
        (SWEEP, lambda path: load_sweep(path, {}, [], [])),
    ],
    ids=["eval", "scale", "sweep"],
)
def test_damaged_yaml(content, read, tmp_path):
    path = tmp_path / "c.yaml"

    @damaging
    @given(damaged(content))
    def check(tree: Any) -> None:
        path.write_text(json.dumps(tree))  # which is YAML, too
        _read_or_refused(lambda: read(str(path)))

    check()


@damaging
@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_as_yaml(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    _read_or_refused(lambda: load_config(str(tmp_path / "c.yaml"), {}, []))
    _read_or_refused(lambda: load_config(None, {}, [f"methods.atman.f={text}"]))


def _results(folder: Path) -> Path:
    cell = Cell(folder, Identity("facts", {}, "0", "tiny-text", "0", "float32", "uniform", 1, {}, None), "default")
    cell.create({"torch": "2"})
    with cell:
        cell.append_map(StoredMap("a", Status.OK, (0.5, 0.25), ((0.5, 0.25),), (1, 0), target_logprobs=(-1.0,)))
        cell.append_rows([Row("a", "positive", Status.OK, {"auprc": 1.0}, n_units=2, n_positive=1)])
    return folder


def _read_results(folder: Path) -> None:
    """What ``table`` and ``results compact`` do."""
    summarise(frame_of(scored_folder(folder, chosen_metrics(()), [Sign.POSITIVE, Sign.SQUARED])))
    compact(folder)


@pytest.mark.parametrize("stem", ["manifest", "maps", "rows", "cells"])
def test_a_damaged_store(stem, tmp_path):
    source = _results(tmp_path / "source")
    if stem == "cells":
        compact(source)
    (path,) = source.rglob(f"{stem}*.json*")
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
    content = lines if lines is not None else json.loads(path.read_text())
    kept = {file: file.read_bytes() for file in source.rglob("*") if file.is_file()}

    @damaging
    @given(damaged(content))
    def check(changed: Any) -> None:
        for file, before in kept.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(before)
        listed = changed if lines is not None and isinstance(changed, list) else [changed]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in listed))
        _read_or_refused(lambda: _read_results(source))

    check()


def test_damaged_sections_and_rows_of_costs(tmp_path):
    worlds.write_sections(tmp_path)
    (path,) = tmp_path.rglob("section.json")
    content = json.loads(path.read_text())

    @damaging
    @given(damaged(content), damaged(worlds.SCALE_ROW))
    def check(section: Any, row: Any) -> None:
        path.write_text(json.dumps(section))
        _read_or_refused(lambda: page.html_page(page.read(tmp_path)))
        _read_or_refused(lambda: page.markdown_page(page.read(tmp_path), tmp_path))
        (tmp_path / "scale-0.jsonl").write_text(json.dumps(row) + "\n")
        _read_or_refused(lambda: read_scale_rows(tmp_path))

    check()
