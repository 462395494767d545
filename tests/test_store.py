import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import check_writable
from atman_bench.core.options import build, identity_options
from atman_bench.core.provenance import environment
from atman_bench.core.records import Row, Status
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.store import Cell, cells
from atman_bench.evaluation.stored import Identity, StoredMap, float32_list
from atman_bench.methods import METHODS

IDENTITY = Identity(
    dataset="squad",
    dataset_options={"template": "{context}"},
    dataset_hash="d",
    model="hf:org/model",
    model_hash="m",
    dtype="float32",
    method="atman",
    method_version=1,
    method_options={"f": 0.9},
    seed=None,
)
OK = StoredMap("a", Status.OK, scores=(0.1, -2.0), per_target=((0.1, -2.0),), label=(0, 1), facts={"n_questions": 3})


def row(uid: str, value: float | None, status: Status = Status.OK, metric: str = "ap") -> Row:
    return Row(uid, "positive", status, {metric: value})


def cell_in(results: Path) -> Cell:
    cell = Cell(results, IDENTITY, "default")
    cell.create({"device": "cpu"})
    return cell


def without_environment(maps: dict[str, StoredMap]) -> dict[str, StoredMap]:
    return {uid: replace(stored, environment=None) for uid, stored in maps.items()}


def part(cell: Cell, kind: str) -> Path:
    (path,) = cell.folder.glob(f"{kind}-*.jsonl")
    return path


def test_what_is_appended_is_read_back(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_map(OK)
        cell.append_rows([row("a", 0.25), row("b", None, Status.OOM)])
    assert without_environment(cell.maps()) == {"a": OK}
    assert cell.rows() == [row("a", 0.25), row("b", None, Status.OOM)]


def test_metrics_that_are_computed_later_join_the_row_of_their_sample(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_rows([row("a", 0.25), row("a", 0.5, metric="ar")])
    (found,) = cell.rows()
    assert found.values == {"ap": 0.25, "ar": 0.5}


VERSION_1 = """{"fingerprint": "91e55f39fdbe", "dataset": "squad", "model": "hf:org/model", "method": "atman",
 "variant": "default", "uid": "a", "metric": "ap", "sign": "positive", "value": 0.25, "status": "ok", "group": "g",
 "n_questions": null, "n_units": 2, "n_positive": 1, "target_logprob": -0.5, "answered": true, "seconds": 0.1,
 "forward_tokens": 30, "peak_bytes": null, "error": null, "schema": 1}"""
"""A row as the version before wrote it, a line for each metric; broken into lines here only."""


def test_rows_of_the_version_before_are_read(tmp_path):
    cell = cell_in(tmp_path)
    first = VERSION_1.replace("\n", "")
    second = first.replace('"ap"', '"ar"').replace("0.25", "0.75")
    (cell.folder / "rows-1.jsonl").write_text(f"{first}\n{second}\n")
    (found,) = cell.rows()
    assert found == Row(
        uid="a",
        sign="positive",
        status=Status.OK,
        values={"ap": 0.25, "ar": 0.75},
        group="g",
        n_units=2,
        n_positive=1,
        target_logprob=-0.5,
        answered=True,
        seconds=0.1,
        forward_tokens=30,
    )


def test_every_map_names_the_environment_that_computed_it(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_map(OK)
    later = Cell(tmp_path, IDENTITY, "default")
    later.create({"device": "cuda"})
    with later:
        later.append_map(replace(OK, uid="b"))
    (found,) = cells(tmp_path)
    devices = {uid: found.environments()[stored.environment]["device"] for uid, stored in found.maps().items()}
    assert devices == {"a": "cpu", "b": "cuda"}


def test_every_float32_survives_the_trip_through_json():
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.float32([0.1, -0.0, 1e-45, 3.4028235e38])])
    back = np.array(json.loads(json.dumps(float32_list(values))), np.float32)
    assert back.tobytes() == values.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, bad):
    with pytest.raises(StoreError, match="finite"):
        float32_list([1.0, bad])
    with cell_in(tmp_path) as cell, pytest.raises(StoreError, match="finite"):
        cell.append_rows([row("a", bad)])


def test_a_line_torn_at_any_byte_is_dropped_and_the_others_kept(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_map(OK)
        cell.append_map(replace(OK, uid="ü"))
    path = part(cell, "maps")
    whole = path.read_bytes()
    first = whole.index(b"\n", whole.index(b"\n") + 1) + 1  # behind the header and the first map
    for end in range(first, len(whole)):
        path.write_bytes(whole[:end])
        assert set(cell.maps()) == {"a"}


def test_a_corrupted_line_is_named_by_file_and_line(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_rows([row("a", 0.5), row("b", 0.5)])
    path = part(cell, "rows")
    header, first, second, end = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([header, first[:-7], second, end]))
    with pytest.raises(StoreError, match=rf"{path.name}, line 2 is corrupted"):
        cell.rows()


@pytest.mark.parametrize("kind", ["rows", "manifest"])
def test_another_schema_version_is_refused(tmp_path, kind):
    with cell_in(tmp_path) as cell:
        cell.append_rows([row("a", 0.5)])
    path = part(cell, "rows") if kind == "rows" else cell.folder / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 99'))
    with pytest.raises(StoreError, match=r"schema version 99.*use the version that wrote it"):
        [found.rows() for found in cells(tmp_path)]


def test_ok_wins_over_failures_and_else_the_latest_counts(tmp_path):
    attempts = {
        "retried": [(0.5, Status.OK), (None, Status.OOM)],
        "failing": [(None, Status.ERROR), (None, Status.OOM)],
        "twice": [(0.5, Status.OK), (0.75, Status.OK)],
    }
    for attempt in range(2):  # Two writers, as two runs would be.
        with cell_in(tmp_path) as cell:
            cell.append_rows([row(uid, *values[attempt]) for uid, values in attempts.items()])
    found = {r.uid: (r.values["ap"], r.status) for r in cell.rows()}
    assert found == {"retried": (0.5, Status.OK), "failing": (None, Status.OOM), "twice": (0.75, Status.OK)}


def test_two_writers_at_once_use_files_of_their_own(tmp_path):
    with cell_in(tmp_path) as one, cell_in(tmp_path) as other:
        one.append_map(OK)
        other.append_map(replace(OK, uid="b"))
    assert set(one.maps()) == {"a", "b"}
    assert len(list(one.folder.glob("maps-*.jsonl"))) == 2


def test_only_what_the_model_or_a_method_refused_for_good_is_finished():
    assert OK.finished
    assert StoredMap("a", Status.SKIPPED, label=(0, 1)).finished
    unlabelled = StoredMap("a", Status.SKIPPED)
    assert not any(m.finished for m in (unlabelled, replace(OK, status=Status.OOM), replace(OK, status=Status.ERROR)))


@pytest.mark.parametrize(
    "change",
    [{"model_hash": "n"}, {"dtype": "float16"}, {"method_version": 2}, {"method_options": {"f": 0.8}}, {"seed": 1}],
)
def test_the_fingerprint_follows_what_changes_maps(change):
    assert replace(IDENTITY, **change).fingerprint != IDENTITY.fingerprint


def test_the_fingerprint_is_the_same_in_every_process():
    # A golden value: another value means that stored results of users are no longer found.
    assert IDENTITY.fingerprint == "91e55f39fdbe"


@dataclass(frozen=True)
class Options:
    layers: tuple[int, ...] = (1, 2)
    batch: int = field(default=8, metadata={"identity": False})


@dataclass(frozen=True)
class LaterOptions(Options):
    kind: Status = field(default=Status.OK, metadata={"identity": "changed"})
    few: tuple[int, ...] | None = field(default=None, metadata={"identity": "changed"})


def test_options_that_cannot_change_a_map_are_left_out_of_the_identity():
    assert identity_options(Options()) == {"layers": [1, 2]}


def test_an_option_added_later_leaves_the_fingerprint_as_it_was_at_its_default():
    old, new = (replace(IDENTITY, method_options=identity_options(o)) for o in (Options(), LaterOptions()))
    assert new.fingerprint == old.fingerprint


def test_an_option_added_later_counts_where_it_differs_from_its_default():
    assert identity_options(LaterOptions(kind=Status.OOM)) == {"layers": [1, 2], "kind": "oom"}
    assert identity_options(LaterOptions(few=())) == {"layers": [1, 2], "few": []}


STORED = json.loads(Path(__file__).with_name("identities.json").read_text())
"""What cells of published results were named by, and the folders that they were in."""

PUBLISHED = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored["folder"])
def test_results_of_earlier_versions_are_still_found(stored):
    """Options of today's methods and datasets give the fingerprints that were stored."""
    identity = Identity(**stored["identity"])
    method, dataset = METHODS.get(identity.method), DATASETS.get(identity.dataset)
    options = build(method.config, identity.method_options)
    dataset_options = identity_options(build(dataset.config, identity.dataset_options))
    dataset_options.pop("data", None)  # where the data lie is no part of an identity
    resolved = replace(
        identity,
        dataset_options=dataset_options,
        method_version=method.version,
        method_options=identity_options(options),
    )
    assert stored["folder"] == f"{method.label(options)}-{resolved.fingerprint}"


def test_cells_of_a_methods_earlier_version_are_read_beside_those_of_today():
    (cell,) = (cell for cell in cells(PUBLISHED / "scenes") if cell.identity.method == "adaptive")
    assert cell.identity.method_version == 2 < METHODS.get("adaptive").version
    assert len(cell.maps()) == 100


def test_the_manifest_is_the_first_writers(tmp_path):
    cell_in(tmp_path)
    cell = Cell(tmp_path, IDENTITY, "default")
    cell.create({"device": "cuda"})
    manifest = json.loads((cell.folder / "manifest.json").read_text())
    assert manifest["environment"] == {"device": "cpu"}
    assert Cell.at(cell.folder).identity == IDENTITY


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("/srv/ada/runs/first", "first"),
        ("--data=/srv/ada/my data/squad.json", "--data=squad.json"),
        ("hf:/srv/ada/model/", "hf:model"),
        ("squad.json,/srv/ada/more.json", "squad.json,more.json"),
        ("../data/squad.json", "../data/squad.json"),
        ("hf:org/model", "hf:org/model"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_a_manifest_names_no_folders_of_the_machine(monkeypatch: pytest.MonkeyPatch, given: str, recorded: str):
    monkeypatch.setattr("sys.argv", [".venv/bin/atman-bench", given])
    assert environment(device="cpu", threads=1)["command"] == ["atman-bench", recorded]


def test_folders_have_names_that_any_file_system_takes(tmp_path):
    cell = Cell(tmp_path, replace(IDENTITY, model="hf:/models/../a b"), "f=0.5,form=log")
    assert cell.folder.relative_to(tmp_path).parts == (
        "squad",
        "hf-models-..-a-b",
        "atman",
        f"f=0.5,form=log-{cell.identity.fingerprint}",
    )


def test_a_folder_that_was_removed_before_the_first_line_is_made_again_and_its_lines_are_found(tmp_path):
    with cell_in(tmp_path / "results") as cell:
        shutil.rmtree(tmp_path / "results")
        cell.append_map(OK)
    (found,) = cells(tmp_path / "results")
    assert without_environment(found.maps()) == {"a": OK}


@pytest.mark.parametrize("append", ["append_map", "append_rows"])
def test_a_folder_that_was_removed_since_the_first_line_ends_the_writing(tmp_path, append):
    with cell_in(tmp_path / "results") as cell:
        cell.append_map(OK)
        shutil.rmtree(tmp_path / "results")
        with pytest.raises(StoreError, match="was removed while results were written to it: run the same command"):
            getattr(cell, append)(OK if append == "append_map" else [row("a", 0.5)])


def test_clear_removes_a_cells_results(tmp_path):
    with cell_in(tmp_path) as cell:
        cell.append_map(OK)
        cell.append_rows([row("a", 0.5)])
    cell.clear()
    assert not cell.maps()
    assert not cell.rows()


def test_a_results_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path):
    # A file in the folder's place stops every user, also root, whom permissions would not.
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match=r"cannot be written to.*--results"):
        check_writable(tmp_path / "results")


def test_a_missing_results_folder_is_one_clear_error(tmp_path):
    with pytest.raises(StoreError, match="no results folder"):
        cells(tmp_path / "nowhere")
