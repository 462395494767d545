"""What a run of the leaderboard leaves for its page, beside the cells of ``eval``.

``RESULTS/leaderboard/<name>/`` holds ``run.json`` (samples, cells, funnel, relative costs, environment) and
``faithfulness.parquet`` (a line for each sample, cell and intervention), so that the page needs neither a model nor the
evaluated subsets.
"""

import json
import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from atman_bench.core.errors import StoreError, one_line
from atman_bench.core.files import write_atomically
from atman_bench.core.jsonl import check_schema, record_of, safe_name, unwritable
from atman_bench.core.records import SCHEMA
from atman_bench.core.texts import parse_json
from atman_bench.evaluation.faithfulness_records import FaithfulnessRow, Spent

FOLDER = "leaderboard"
_RUN = "run.json"
_ROWS = "faithfulness.parquet"
_VALUE, _PASSES = "value.", "passes."
_BETWEEN = "--"


@dataclass(frozen=True)
class RelativeCost:
    """What a method takes, as multiples of a plain forward pass; medians over the samples.

    Attributes:
        seconds: Wall time.
        passes: Positions that went through the layers, backward passes not counted.
        peak: Most bytes of tensors alive at once above what was alive before.
        plain_seconds: Wall time of a plain pass.
        plain_peak_bytes: Its tensors.
        n: Samples that it was measured on.
        error: Why it could not be measured.
    """

    seconds: float | None = None
    passes: float | None = None
    peak: float | None = None
    plain_seconds: float | None = None
    plain_peak_bytes: int | None = None
    n: int = 0
    error: str | None = None


@dataclass(frozen=True)
class LeaderboardRun:
    """One configuration that was run.

    Attributes:
        name: Of the configuration, followed by what was chosen in place of its own dataset and model.
        dataset: What tables call the dataset.
        model: Name of the model.
        sign: How signed scores became the maps that localisation is scored on.
        note: What should be said of it, such as what was cut for time.
        uids: Samples that it evaluated.
        fingerprints: Its cells in the store.
        n_candidates: Samples and entries that the dataset has.
        n_passed_over: Samples and entries that could not be used.
        skipped: Reason -> how many.
        measures: Measures of faithfulness.
        spent: What running the subsets took, by intervention.
        costs: Fingerprint -> what the method costs.
        environment: What computed it.
        chosen: ``dataset`` or ``model`` -> what took the place of the configuration's own.
        flags: Others that it was run with, such as ``--limit 24``.
    """

    name: str
    dataset: str
    model: str
    sign: str
    note: str
    uids: tuple[str, ...]
    fingerprints: tuple[str, ...]
    n_candidates: int
    n_passed_over: int
    skipped: Mapping[str, int]
    measures: tuple[str, ...]
    spent: Mapping[str, Spent] = field(default_factory=dict)
    costs: Mapping[str, RelativeCost] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What runs it, but for where things are (``--data``, ``--results``, ``--device``)."""
        configuration = self.name.rsplit(_BETWEEN, len(self.chosen))[0]
        options = [f"--{option} {value}" for option, value in self.chosen.items()]
        return " ".join(["atman-bench leaderboard run", configuration, *options, *self.flags])


def joined_name(configuration: str, chosen: Mapping[str, str]) -> str:
    """The name of a run, which differs between models and datasets that one configuration is run with.

    Args:
        configuration: Name of the configuration.
        chosen: As of ``LeaderboardRun``; of a path the last part counts, as tables call models.
    """
    ends = [value.rstrip("/").rsplit("/", 1)[-1].replace(_BETWEEN, "-") for value in chosen.values()]
    return _BETWEEN.join([configuration, *ends])


def write_run(results: Path, run: LeaderboardRun) -> None:
    """Store what is known of a run.

    Raises:
        StoreError: It cannot be written.
    """
    content = {"schema": SCHEMA, **asdict(run)}
    write_atomically(_folder(results, run.name) / _RUN, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_rows(results: Path, name: str, rows: Iterable[FaithfulnessRow]) -> None:
    """Store the faithfulness of a run.

    Raises:
        StoreError: It cannot be written.
    """
    lines = [
        {
            **_texts(row),
            **{_VALUE + measure: value for measure, value in row.values.items()},
            **{_PASSES + measure: count for measure, count in row.passes.items()},
        }
        for row in rows
    ]
    folder = _folder(results, name)
    temporary = folder / f".{secrets.token_hex(4)}-{_ROWS}"
    frame = pd.DataFrame(lines)
    numbers = [column for column in frame if str(column).startswith((_VALUE, _PASSES))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            frame.astype(dict.fromkeys(numbers, float)).to_parquet(temporary, compression="zstd", index=False)
            temporary.replace(folder / _ROWS)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def read_run(results: Path, name: str) -> LeaderboardRun | None:
    """What is stored of a run; None if there is nothing.

    Raises:
        StoreError: It is damaged, or of another schema version.
    """
    path = _folder(results, name) / _RUN
    if not path.exists():
        return None
    try:
        content = parse_json(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("not an object")
        check_schema(content, str(path))
        return record_of(LeaderboardRun, {key: value for key, value in content.items() if key != "schema"})
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_runs(results: Path) -> list[LeaderboardRun]:
    """All runs of a results folder, by name.

    Raises:
        StoreError: There is none, or one is damaged.
    """
    names = sorted(path.parent.name for path in results.glob(f"{FOLDER}/*/{_RUN}"))
    found = [run for name in names if (run := read_run(results, name)) is not None]
    if not found:
        raise StoreError(
            f"no leaderboard in {results}: run 'atman-bench leaderboard run CONFIG --results {results}' first"
        )
    return found


def read_rows(results: Path, name: str) -> list[FaithfulnessRow]:
    """The faithfulness of a run; empty if it did not get so far.

    Raises:
        StoreError: The file is damaged.
    """
    path = _folder(results, name) / _ROWS
    if not path.exists():
        return []
    try:
        frame = pd.read_parquet(path)
        return [_row(line) for line in frame.to_dict("records")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _texts(row: FaithfulnessRow) -> dict[str, str | None]:
    """Its fields that are texts."""
    named = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in ("values", "passes")}
    return {name: None if value is None else str(value) for name, value in named.items()}


def _row(line: Mapping[Any, Any]) -> FaithfulnessRow:
    known = {str(name): value for name, value in line.items()}
    plain = {f.name: _missing_as_none(known[f.name]) for f in fields(FaithfulnessRow) if f.name in known}
    ok = plain["status"] == "ok"
    values = {k.removeprefix(_VALUE): _missing_as_none(v) for k, v in known.items() if ok and k.startswith(_VALUE)}
    counts = {k.removeprefix(_PASSES): int(v) for k, v in known.items() if ok and k.startswith(_PASSES)}
    return record_of(FaithfulnessRow, {**plain, "values": values, "passes": counts})


def _missing_as_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _folder(results: Path, name: str) -> Path:
    return results / FOLDER / safe_name(name)


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is damaged ({one_line(error)}): run atman-bench leaderboard run again")
