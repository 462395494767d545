"""Tables of what explanations cost: a line per model, length and method."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median

import pandas as pd

from atman_bench.core.errors import DataError
from atman_bench.profiling.rows import PLAIN, QUIET_LOAD, QUIET_SPREAD, Agreement, ScaleRow, Source
from atman_bench.report._cost_cells import status_of, table_of
from atman_bench.report._format import number
from atman_bench.report._paper_cost_tables import paper_tables
from atman_bench.report.render import TextTable
from atman_bench.report.tables import cell_name

BASELINE = f"{PLAIN}:lean"
"""What ratios are taken of: the same model and length, target logits only."""

_AT = ["model", "dtype", "device", "threads", "tokens", "source"]
_CASE = ["model", "dtype", "device", "tokens", "source", "method", "variant"]


def frame_of(rows: Iterable[ScaleRow], *, extrapolate: bool = False) -> pd.DataFrame:
    """Put rows into a data frame: a column per field, and what figures need.

    Args:
        rows: Of any models and methods.
        extrapolate: Give cells that measured some units only an estimated time; without it they have none.

    Returns:
        Columns of ``ScaleRow`` and ``name`` (``atman``, ``chefer:full``, with its batch), ``time`` (median seconds, or
        the estimate), ``extrapolated`` (which of the two), ``spread`` (of the repeats), ``disturbed`` (what says that
        the machine was not quiet; empty if nothing does), ``peak`` (median bytes above the loaded model), ``total``
        (the model included), ``time_ratio`` and ``peak_ratio`` to ``BASELINE`` at the same model and length. NaN where
        there is no number.

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
            "spread": row.spread,
            "disturbed": ", ".join(row.disturbances),
            "peak": median(row.peak_bytes) if row.peak_bytes else None,
        }
        for row in rows
    ]
    if not lines:
        raise DataError("there are no measured costs; expected at least one row: run `atman-bench scale` first")
    numbers = ["time", "spread", "load", "peak", "parameters", "model_bytes", "batch", "units", "forward_tokens"]
    frame = pd.DataFrame(lines).astype(dict.fromkeys(numbers, float))
    frame["total"] = frame["model_bytes"] + frame["peak"]
    frame = frame.sort_values([*_AT, "name", "workers"], kind="stable", ignore_index=True)
    baselines = frame[frame["name"] == BASELINE].drop_duplicates(_AT).set_index(_AT)
    at = pd.MultiIndex.from_frame(frame[_AT])
    for column in ("time", "peak"):
        frame[f"{column}_ratio"] = frame[column] / baselines[column].reindex(at).to_numpy()
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
    """A line for each model, length and method; and what the paper says of its own, where there is any of it.

    Args:
        frame: From ``frame_of``; a time with ``≈`` is an estimate from fewer perturbations than there are.
    """
    lines = [
        (
            str(row["model"]),
            str(row["tokens"]),
            str(row["name"]),
            str(row["workers"]),
            ("≈ " if row["extrapolated"] else "") + number(row["time"], ".3g"),
            str(len(row["seconds"])),
            number(row["time_ratio"], ".3g"),
            number(row["peak"] / 1e6, ",.0f"),
            number(row["peak_ratio"], ".2f"),
            status_of(row),
        )
        for row in frame.to_dict("records")
    ]
    columns = ("model", "tokens", "method", "workers", "time, s", "repeats", "× plain", "peak, MB", "× plain", "status")
    note = "Peak memory above the loaded model; × plain: of a plain pass that keeps the target's logits only."
    if frame["extrapolated"].any():
        note += " ≈ extrapolated: some perturbations, evenly spaced, were timed, and the time scaled to all."
    if frame["disturbed"].ne("").any():
        note += (
            f" Not quiet: the times say little, because more than {QUIET_LOAD:g} other processes ran before the cell "
            f"(load), or because its repeats differ by more than {QUIET_SPREAD:.0%} of their median (spread)."
        )
    if (frame["load"].isna() & frame["source"].eq(Source.MEASURED)).any():
        note += " Rows without a stored load are judged by their spread alone."
    others = (_parallel_table(frame), *paper_tables(frame))
    return table_of("Time and memory", note, columns, lines), *(table for table in others if table.lines)


def most_parallel(frame: pd.DataFrame) -> pd.DataFrame:
    """The method, model and length with most batches and workers, and what these gain (Fig. 6).

    Args:
        frame: From ``frame_of``.

    Returns:
        Its cells with a known batch, none if there is one only, with ``speed_up`` over the cell with the fewest
        workers and perturbations per pass, and ``efficiency``: the speed-up by how many times as many perturbations run
        at once. 1 is A.1's division by the batch size and the workers.
    """
    known = frame[frame["batch"].notna()].sort_values("units")
    known = known.drop_duplicates([*_CASE, "batch", "workers"], keep="last")
    # Workers share the threads, so that cells of several have fewer each.
    cases = [part for _, part in known.groupby(_CASE) if len(part) > 1]
    if not cases:
        return known.iloc[:0].assign(speed_up=0.0, efficiency=0.0)
    found = max(cases, key=len).sort_values(["workers", "batch"])
    at_once = found["batch"] * found["workers"]
    first = found.iloc[0]
    speed_up = first["time"] / found["time"]
    return found.assign(speed_up=speed_up, efficiency=speed_up * at_once.iloc[0] / at_once)


def _parallel_table(frame: pd.DataFrame) -> TextTable:
    """What perturbations that run at once gain."""
    lines = [
        (
            f"{row['batch']:g} per pass, {row['workers']} worker{'' if row['workers'] == 1 else 's'}",
            number(row["time"], ".3g"),
            number(row["speed_up"], ".2f"),
            number(row["efficiency"], ".2f"),
            number(row["peak"] / 1e6, ",.0f"),
        )
        for row in most_parallel(frame).to_dict("records")
    ]
    columns = ("perturbations", "time, s", "speed-up", "efficiency", "peak, MB")
    note = (
        "Speed-up over the first line; efficiency: the speed-up, divided by how many times as many perturbations run "
        "at once. At 1 the time is divided by the batch size and the workers, as A.1 of the paper remarks; here the "
        "workers share the threads of one machine."
    )
    return table_of("Perturbations at once", note, columns, lines)


def markdown(frame: pd.DataFrame) -> str:
    """The tables of ``frame_of`` in Markdown."""
    return "\n".join(table.markdown() for table in cost_tables(frame))


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
        table_of("Simulated and measured peak memory", note, ("method", "cells", "median", "range"), medians),
        table_of("Cell by cell", note, columns, lines),
    )
    return "\n".join(table.markdown() for table in tables)


def _time(row: ScaleRow, extrapolate: bool) -> float | None:
    if row.partial:
        return row.extrapolated_seconds if extrapolate else None
    return median(row.seconds) if row.seconds else None
