"""Tables of what explanations cost: a line per model, length and method."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import pandas as pd

from atman_bench.core.errors import DataError
from atman_bench.profiling.rows import PLAIN, Agreement, ScaleRow, ScaleStatus, Source
from atman_bench.report._format import NOTHING
from atman_bench.report._paper_costs import OOM, Reading, paper_reading
from atman_bench.report.render import TextTable
from atman_bench.report.tables import cell_name

BASELINE = f"{PLAIN}:lean"
"""What ratios are taken of: the same model and length, target logits only."""

_AT = ["model", "dtype", "device", "threads", "tokens", "source"]


def frame_of(rows: Iterable[ScaleRow], *, extrapolate: bool = False) -> pd.DataFrame:
    """Put rows into a data frame: a column per field, and what figures need.

    Args:
        rows: Of any models and methods.
        extrapolate: Give cells that measured some units only an estimated time; without it they have none.

    Returns:
        Columns of ``ScaleRow`` and ``name`` (``atman``, ``chefer:full``, with its batch), ``time`` (median seconds, or
        the estimate), ``extrapolated`` (which of the two), ``peak`` (median bytes above the loaded model),
        ``time_ratio`` and ``peak_ratio`` to ``BASELINE`` at the same model and length. NaN where there is no number.

    Raises:
        DataError: There are no rows.
    """
    lines = [
        asdict(row)
        | {
            "status": row.status.value,
            "source": row.source.value,
            "name": name_of(row),
            "time": _time(row, extrapolate),
            "extrapolated": row.partial and extrapolate,
            "peak": median(row.peak_bytes) if row.peak_bytes else None,
        }
        for row in rows
    ]
    if not lines:
        raise DataError("there are no measured costs; expected at least one row: run `atman-bench scale` first")
    numbers = ["time", "peak", "parameters", "model_bytes", "batch", "units", "forward_tokens"]
    frame = pd.DataFrame(lines).astype(dict.fromkeys(numbers, float))
    frame = frame.sort_values([*_AT, "name", "workers"], kind="stable", ignore_index=True)
    baselines = frame[frame["name"] == BASELINE].drop_duplicates(_AT).set_index(_AT)
    at = pd.MultiIndex.from_frame(frame[_AT])
    for number in ("time", "peak"):
        frame[f"{number}_ratio"] = frame[number] / baselines[number].reindex(at).to_numpy()
    return frame


def mark_simulated(frame: pd.DataFrame) -> pd.DataFrame:
    """Mark the names of simulated cells where measured ones are shown beside them; they are never mixed unmarked."""
    if frame["source"].nunique() < 2:
        return frame
    simulated = frame["source"] == Source.SIMULATED
    return frame.assign(name=frame["name"].mask(simulated, frame["name"] + " (simulated)"))


def name_of(row: ScaleRow) -> str:
    """What a line is called: ``chefer:full``; methods that perturb say how many perturbations share a pass."""
    name = f"{PLAIN}:{row.variant}" if row.method == PLAIN else cell_name(row.method, row.variant)
    if row.units is None and row.batch is None:
        return name
    return f"{name}, batch {'auto' if row.batch is None else row.batch}"


def cost_tables(frame: pd.DataFrame) -> tuple[TextTable, ...]:
    """A line for each model, length and method; and the cells that the paper's Fig. 5 shows too, where there are any.

    Args:
        frame: From ``frame_of``; a time with ``≈`` is an estimate from fewer perturbations than there are.
    """
    lines = [
        (
            str(row["model"]),
            str(row["tokens"]),
            str(row["name"]),
            str(row["workers"]),
            ("≈ " if row["extrapolated"] else "") + _number(row["time"], ".3g"),
            str(len(row["seconds"])),
            _number(row["time_ratio"], ".3g"),
            _number(row["peak"] / 1e6, ",.0f"),
            _number(row["peak_ratio"], ".2f"),
            _status(row),
        )
        for row in frame.to_dict("records")
    ]
    columns = ("model", "tokens", "method", "workers", "time, s", "repeats", "× plain", "peak, MB", "× plain", "status")
    note = "Peak memory above the loaded model; × plain: of a plain pass that keeps the target's logits only."
    if frame["extrapolated"].any():
        note += " ≈ extrapolated: some perturbations, evenly spaced, were timed, and the time scaled to all."
    beside_paper = _beside_paper(frame)
    return _table("Time and memory", note, columns, lines), *([beside_paper] if beside_paper.lines else [])


def markdown(frame: pd.DataFrame) -> str:
    """The tables of ``frame_of`` in Markdown."""
    return "\n".join(table.markdown() for table in cost_tables(frame))


def _beside_paper(frame: pd.DataFrame) -> TextTable:
    """The cells that the paper's Fig. 5 shows too, with its readings."""
    alone = frame[(frame["workers"] == 1) & (frame["batch"].eq(1) | frame["units"].isna())]
    lines = [
        (
            f"{row['model']}, {row['dtype']} on {row['device']}",
            str(row["tokens"]),
            str(row["name"]),
            _number(row["time"], ".3g"),
            _paper_number(reading, reading.seconds, ".4g"),
            _number((row["model_bytes"] + row["peak"]) / 1e9, ".1f"),
            _paper_number(reading, reading.gigabytes, ".1f"),
            _status(row),
        )
        for row in alone.to_dict("records")
        if (reading := paper_reading(row["model"], row["method"], row["variant"], row["tokens"])) is not None
    ]
    columns = ("model", "tokens", "method", "time, s", "paper, s", "with weights, GB", "paper, GB", "status")
    note = (
        "The paper's numbers are read off its Fig. 5: memory to 0.5 GB, and its weights hold an image encoder and "
        "adapters besides (0.8 GB for 6.0B). Its AtMan ran one whole pass per token."
    )
    return _table("Beside the paper", note, columns, lines)


def agreement_markdown(pairs: Sequence[Agreement]) -> str:
    """Measured cells beside their simulation, and the median ratio of each method's peaks, in Markdown.

    Args:
        pairs: At least one.
    """
    lines = [
        (
            pair.measured.model,
            str(pair.measured.tokens),
            name_of(pair.measured),
            f"{max(pair.measured.peak_bytes) / 1e6:,.0f}",
            f"{max(pair.simulated.peak_bytes) / 1e6:,.0f}",
            f"{pair.ratio:.2f}",
        )
        for pair in pairs
    ]
    by_name: dict[str, list[float]] = {}
    for pair in pairs:
        by_name.setdefault(name_of(pair.measured), []).append(pair.ratio)
    by_name["all"] = [pair.ratio for pair in pairs]
    medians = [
        (name, str(len(ratios)), f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")
        for name, ratios in by_name.items()
    ]
    note = "Simulated by measured peak memory above the loaded model."
    columns = ("model", "tokens", "method", "measured, MB", "simulated, MB", "simulated / measured")
    tables = (
        _table("Simulated and measured peak memory", note, ("method", "cells", "median", "range"), medians),
        _table("Cell by cell", note, columns, lines),
    )
    return "\n".join(table.markdown() for table in tables)


def _table(title: str, note: str, columns: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> TextTable:
    return TextTable(title, note, columns, tuple(lines), (False,) * len(lines))


def _time(row: ScaleRow, extrapolate: bool) -> float | None:
    if row.partial:
        return row.extrapolated_seconds if extrapolate else None
    return median(row.seconds) if row.seconds else None


def _status(row: Mapping[Hashable, Any]) -> str:
    """How a cell ended; a simulated one says so."""
    return str(row["status"]) if row["source"] == Source.MEASURED else f"{row['status']} ({row['source']})"


def _paper_number(reading: Reading, value: float | None, form: str) -> str:
    return ScaleStatus.OOM if reading == OOM else _number(value, form)


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{value:{form}}"
