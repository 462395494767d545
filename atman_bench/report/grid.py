"""The mean at every grid point of a sweep, and the best point: selected on half of the groups, reported on the other.

The mean of the best of many points is too high on the samples that selected it. So one half of the groups (``tuning``)
selects the point, and the number that is reported comes from the other half (``held-out``).

The frame of a sweep has the columns of ``tables.frame_of`` and, with categories in the order of the grid,

- ``grid.OPTION`` for each axis: the name of the value (``grid.kappa`` = ``single``);
- ``point``: all of them (``kappa=single, f=0.9``); like the axes, missing in rows of floors;
- ``split``: tuning, held-out, or all where nothing is held out.
"""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atman_bench.core.errors import DataError
from atman_bench.core.records import ScoredCell, Status
from atman_bench.metrics import CHOSEN_BY
from atman_bench.metrics._statistics import Interval, bootstrap_interval
from atman_bench.report import _format, tables
from atman_bench.report._format import NOTHING, number
from atman_bench.report.render import TextTable
from atman_bench.report.tables import CELL, EXPERIMENT, cell_name, with_interval

if TYPE_CHECKING:
    from atman_bench.evaluation.sweep import Sweep

AXIS = "grid."
"""What the columns of axes begin with."""


class Split(StrEnum):
    """What a sample of a sweep is used for."""

    TUNING = "tuning"
    """Selecting the best point."""
    HELD_OUT = "held-out"
    """Reporting it."""
    ALL = "all"
    """Both."""


@dataclass(frozen=True)
class Estimate:
    """A mean over samples, x 100, with its 95 % bootstrap interval over groups; None for too few groups."""

    mean: float
    interval: Interval | None
    n: int
    groups: int

    def __str__(self) -> str:
        interval = self.interval or Interval(np.nan, np.nan)
        return _format.with_interval(self.mean, interval.low, interval.high)


@dataclass(frozen=True)
class Best:
    """The best point of a grid by mAP.

    Attributes:
        point: Its name.
        tuning: Its mAP on the samples that it was chosen on.
        reported: By metric, on the samples that it is reported on; those without a value are left out.
        held_out: Whether these are other samples.
        candidates: How many points it was chosen from: those with a value for every sample.
    """

    point: str
    tuning: Estimate
    reported: Mapping[str, Estimate]
    held_out: bool
    candidates: int


def frame_of_sweep(sweep: "Sweep", cells: Sequence[ScoredCell], *, holdout: bool) -> pd.DataFrame:
    """The rows of a sweep that ran, as tables and figures take them (see the module).

    Args:
        sweep: The sweep.
        cells: What ``runner.rows_of_run`` gives for its ``config``.
        holdout: Split the groups into a half to choose on and a half to report on.

    Raises:
        DataError: No sample has been explained at every point.
    """
    names = [axis.name for axis in sweep.axes]
    places = {name: list(axis.settings) for name, axis in zip(names, sweep.axes, strict=True)}
    n = len(sweep.points)
    points = [
        (dict(zip(names, point.place, strict=True)), of_point)
        for point, of_point in zip(sweep.points, cells[:n], strict=True)
    ]
    return frame_of(points, cells[n:], places, seed=sweep.run.seed if holdout else None)


def frame_of(
    points: Sequence[tuple[Mapping[str, str], ScoredCell]],
    references: Iterable[ScoredCell],
    places: Mapping[str, Sequence[str]],
    seed: int | None,
) -> pd.DataFrame:
    """Put a sweep's rows into a data frame (see the module), of the samples that every point has rows for.

    A sample that some points skipped is left out at all.

    Args:
        points: The place of each point on every axis, and its rows.
        references: Rows of what the grid is compared with.
        places: The values on each axis, in the order of tables.
        seed: Seed of the split; None holds nothing out.

    Raises:
        DataError: No sample has been run at every point.
    """
    skipped = [{row.uid for row in cell.rows if row.status is Status.SKIPPED} for _, cell in points]
    common = set.intersection(*({row.uid for row in cell.rows} for _, cell in points))
    common = {uid for uid in common if len({uid in uids for uids in skipped}) == 1}
    if not common:
        raise DataError("no sample has been explained at every grid point yet: run the same command again")
    parts = [
        tables.frame_of([cell]).assign(
            **{f"{AXIS}{axis}": value for axis, value in place.items()}, point=point_name(place)
        )
        for place, cell in points
    ]
    # A floor without rows has nothing to compare with.
    parts += [tables.frame_of([cell]) for cell in references if cell.rows]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[frame["uid"].isin(common)].reset_index(drop=True)
    for axis, values in places.items():
        frame[f"{AXIS}{axis}"] = pd.Categorical(frame[f"{AXIS}{axis}"], list(values), ordered=True)
    order = [point_name(place) for place, _ in points]
    frame["point"] = pd.Categorical(frame["point"], order, ordered=True)
    # A sample that no method could use has no group, and nothing to split.
    groups = sorted({group for group in frame["group"] if group})
    if seed is None or len(groups) < 2:
        return frame.assign(split=Split.ALL.value)
    tuning = tuning_groups(groups, seed)
    return frame.assign(split=np.where(frame["group"].isin(tuning), Split.TUNING.value, Split.HELD_OUT.value))


def point_name(place: Mapping[str, str]) -> str:
    """``kappa=0.7, f=0.9``."""
    return ", ".join(f"{axis}={value}" for axis, value in place.items())


def tuning_groups(groups: Sequence[str], seed: int) -> frozenset[str]:
    """A seeded half of the groups, the smaller one: the reported number needs the samples more."""
    shuffled = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    return frozenset(shuffled[: len(groups) // 2])


def swept(frame: pd.DataFrame) -> str:
    """What all points have in common: the method, and what their variants begin with (``atman:shifted``)."""
    points = frame[frame["point"].notna()]
    variants = [str(variant).split("-") for variant in points["variant"].unique()]
    common = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*variants, strict=False))
    return cell_name(points["method"].iloc[0], "-".join(parts[0] for parts in common) or "default")


def axes_of(frame: pd.DataFrame) -> list[str]:
    """The columns of the axes."""
    return [column for column in frame.columns if column.startswith(AXIS)]


def axis_title(column: str) -> str:
    """``grid.kappa`` -> ``kappa``."""
    return column.removeprefix(AXIS)


def is_of_grid(columns: Iterable[str]) -> bool:
    """Whether a figure that needs these columns is about a sweep."""
    return any(column == "point" or column.startswith(AXIS) for column in columns)


def matrix(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean x 100 at each point: the last axis across, the others down; NaN where no sample has a value."""
    *down, across = axes_of(frame)
    of_metric = frame[frame["metric"].eq(metric) & frame["point"].notna()]
    if not down:
        of_metric = of_metric.assign(_only="")
        down = ["_only"]
    means = of_metric.groupby([*down, across], observed=False)["value"].mean().unstack(across)
    means.index = [" · ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in means.index]
    return 100 * means


def best(frame: pd.DataFrame) -> Best | None:
    """The point with the highest mAP on the tuning samples, the first of equals; None where no point has a value.

    Points that failed on a sample are no candidates: their mean would be over other, perhaps easier, samples.
    """
    of_metric = frame[frame["metric"].eq(CHOSEN_BY) & frame["point"].notna()]
    values = of_metric.pivot_table(index=["split", "uid"], columns="point", values="value", observed=True)
    values = values.dropna(axis="columns")
    tuned = values[values.index.get_level_values("split") != Split.HELD_OUT]
    if tuned.empty or not tuned.columns.size:
        return None
    point = str(tuned.mean().idxmax())
    own = frame[frame["point"].eq(point)]
    tuning = estimate(own[own["split"].ne(Split.HELD_OUT)], CHOSEN_BY)
    reported = {name: estimate(own[own["split"].ne(Split.TUNING)], name) for name in with_interval().values()}
    if tuning is None:
        return None
    return Best(
        point=point,
        tuning=tuning,
        reported={name: found for name, found in reported.items() if found is not None},
        held_out=bool(own["split"].ne(Split.ALL).all()),
        candidates=values.shape[1],
    )


def place_of(frame: pd.DataFrame, point: str) -> tuple[int, int]:
    """Column and row of a point in its ``matrix``."""
    first = frame[frame["point"].eq(point)].iloc[0]
    *down, across = axes_of(frame)
    row = 0
    for axis in down:
        values = list(frame[axis].cat.categories)
        row = row * len(values) + values.index(first[axis])
    return list(frame[across].cat.categories).index(first[across]), row


def estimate(frame: pd.DataFrame, metric: str) -> Estimate | None:
    """The mean of one metric over the rows of one cell; None where no sample has a value."""
    rows = frame[frame["metric"].eq(metric) & frame["value"].notna()]
    if rows.empty:
        return None
    values, groups = 100 * rows["value"].to_numpy(), rows["group"].to_numpy()
    return Estimate(float(values.mean()), bootstrap_interval(values, groups), len(values), rows["group"].nunique())


def describe(frame: pd.DataFrame) -> list[str]:
    """The best point in words, and a warning where it is reported on the samples that it was chosen on."""
    found = best(frame)
    if found is None:
        return ["No grid point has a value for every sample, so none is called the best."]
    names = {metric: name for name, metric in with_interval().items()}
    numbers = ", ".join(f"{names[metric]} {number}" for metric, number in found.reported.items())
    if not found.held_out:
        return [
            f"Best of {found.candidates} points by mAP: {found.point}.",
            f"On the {found.tuning.n} samples that it was chosen on: {numbers}.",
            "Warning: the best point was chosen on the data it is reported on, so its numbers are too high; "
            "hold half of at least two groups out.",
        ]
    lines = [
        f"Best of {found.candidates} points by mAP on one half ({found.tuning.n} samples in {found.tuning.groups} "
        f"groups): {found.point}, {found.tuning}."
    ]
    if CHOSEN_BY not in found.reported:
        return [*lines, "No held-out sample has a value."]
    held_out = found.reported[CHOSEN_BY]
    lines.append(f"On the other half ({held_out.n} samples in {held_out.groups} groups): {numbers}.")
    highest = _highest(frame)
    if highest is not None and highest[0] != found.point:
        point, over_all = highest
        lines.append(
            f"Over all {over_all.n} samples, as tables and figures show them, the highest mean is that of {point}, "
            f"{over_all.mean:.1f}: a maximum over points on the samples that it is shown for, so too high."
        )
    return lines


def _highest(frame: pd.DataFrame) -> tuple[str, Estimate] | None:
    """The point with the highest mean mAP over all samples."""
    of_points = frame[frame["point"].notna()]
    found = {str(point): estimate(rows, CHOSEN_BY) for point, rows in of_points.groupby("point", observed=True)}
    defined = {point: over_all for point, over_all in found.items() if over_all is not None}
    return max(defined.items(), key=lambda item: item[1].mean) if defined else None


def matrix_table(frame: pd.DataFrame, name: str) -> TextTable:
    """The mean of a metric (``mAP`` or ``mAR``) over all samples at each point, as a table."""
    means = matrix(frame, with_interval()[name])
    *down, across = map(axis_title, axes_of(frame))
    return TextTable(
        title=f"{name} · {_title(frame)}",
        note=f"× 100, mean over {frame.loc[frame['value'].notna(), 'uid'].nunique()} samples.",
        columns=(f"{' · '.join(down)} \\ {across}".strip(), *map(str, means.columns)),
        lines=tuple(
            (str(label), *map(number, line)) for label, line in zip(means.index, means.to_numpy(), strict=True)
        ),
        floors=(False,) * len(means),
    )


def points_table(frame: pd.DataFrame) -> TextTable:
    """Every grid point in a line, in the order of the grid, and then the floors."""
    columns = ("n", *with_interval(), "mAP tuning", "mAP held-out", "degenerate", "missing")
    grid = [(str(point), part) for point, part in frame.groupby("point", observed=True)]
    references = frame[frame["point"].isna()]
    floors = [(cell_name(str(method), str(variant)), part) for (method, variant), part in references.groupby(CELL)]
    lines = [(name, *_line(part)) for name, part in (*grid, *floors)]
    return TextTable(
        title=_title(frame),
        note="Metrics × 100 over all samples; [95 % bootstrap interval over groups].",
        columns=("point", *columns),
        lines=tuple(lines),
        floors=(False,) * len(grid) + (True,) * len(floors),
    )


def markdown(frame: pd.DataFrame, notes: Iterable[str]) -> str:
    """All of it, as written to ``sweep.md``."""
    several = len(axes_of(frame)) > 1
    matrices = [matrix_table(frame, name).markdown() for name in with_interval()] if several else []
    return (
        "\n\n".join(text.rstrip() for text in [*describe(frame), *matrices, points_table(frame).markdown(), *notes])
        + "\n"
    )


def _title(frame: pd.DataFrame) -> str:
    dataset, model, sign = frame[EXPERIMENT].iloc[0]
    return f"{swept(frame)} on {dataset} · {model} · sign {sign}"


def _line(part: pd.DataFrame) -> tuple[str, ...]:
    """The numbers of one point."""
    whole = [estimate(part, metric) for metric in with_interval().values()]
    halves = [estimate(part[part["split"].eq(split)], CHOSEN_BY) for split in (Split.TUNING, Split.HELD_OUT)]
    n = part.loc[part["status"].eq(Status.OK) & part["value"].notna(), "uid"].nunique()
    degenerate = part.loc[part["metric"].eq("degenerate"), "value"].sum()
    missing = part.loc[part["status"].ne(Status.OK)].drop_duplicates("uid")["status"].value_counts()
    return (
        str(n),
        *(NOTHING if found is None else str(found) for found in whole),
        *(number(None if found is None else found.mean) for found in halves),
        number(degenerate or None, ".0f"),
        ", ".join(f"{count} {status}" for status, count in missing.items()) or NOTHING,
    )
