"""Numbers of a comparison from its rows: one line per method and variant, and paired differences.

A *cell* is a method with a variant; an *experiment* is a dataset, a model and a sign rule: only cells of one experiment
can be compared, and they are never mixed. All metrics are x 100, as the paper prints them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter

import numpy as np
import pandas as pd

from atman_bench.core.errors import DataError, StoreError, UnknownNameError
from atman_bench.core.records import Row, ScoredCell, Status
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics import CHOSEN_BY, METRICS
from atman_bench.metrics._base import MetricSpec
from atman_bench.metrics._statistics import IQ_25_72, IQ_MEAN, MEAN, Interval, average, bootstrap_interval, compare
from atman_bench.report._paper_scores import reported, scores_of

EXPERIMENT = ["dataset", "model", "sign"]
CELL = ["method", "variant"]

_COMPARISON = ["floor", "metric", "n", "difference", "low", "high", "p_value"]
_OF_CELL = tuple(f.name for f in fields(ScoredCell) if f.name != "rows")
_OF_SAMPLE = tuple(f.name for f in fields(Row) if f.name != "values")
_names_of = attrgetter(*_OF_CELL)
_NUMBERS = ["value", "target_logprob", "seconds", "forward_tokens", "peak_bytes"]


def frame_of(cells: Iterable[ScoredCell]) -> pd.DataFrame:
    """Put the rows of cells into a data frame: a line for each sample and metric; a missing number is NaN.

    Columns: fingerprint, dataset, model, method and variant of the cell; ``metric`` and its ``value``; and the other
    fields of ``Row``.

    Raises:
        DataError: There are no rows.
    """
    lines = [
        (*_names_of(cell), metric, value, *shared)
        for cell in cells
        for row in cell.rows
        for shared in [tuple(getattr(row, name) for name in _OF_SAMPLE)]
        for metric, value in row.values.items()
    ]
    frame = pd.DataFrame.from_records(lines, columns=[*_OF_CELL, "metric", "value", *_OF_SAMPLE])
    if frame.empty:
        raise DataError("there are no rows to report on; expected at least one: run `atman-bench eval` first")
    return frame.astype(dict.fromkeys(_NUMBERS, float) | {"status": str})


def metrics_in_order() -> dict[str, MetricSpec]:
    """Every metric by its name, in the order of their columns in tables."""
    return dict(sorted(METRICS.items(), key=lambda item: (item[1].order, item[1].column)))


def with_interval() -> dict[str, str]:
    """Column -> name of the metrics that tables show with a 95 % interval."""
    return {spec.column: name for name, spec in metrics_in_order().items() if spec.interval}


def answered_only(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the questions that the model answers greedily, for tables restricted to them.

    Raises:
        DataError: The model answers none of them.
    """
    answered = frame[frame["answered"].eq(True)]
    if answered.empty:
        raise DataError("the model answers none of the questions; a table of the answered ones would be empty")
    return answered


def cell_name(method: str, variant: str) -> str:
    """Name a cell as users write it: ``atman:literal``, or the method alone for its default."""
    return method if variant == "default" else f"{method}:{variant}"


def folded(name: str, most: int) -> list[str]:
    """Break a long name after its punctuation into lines of at most ``most`` characters, where that is possible."""
    lines = [""]
    for part in re.findall(r"[^ _:,-]*[ _:,-]*", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > most:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise every cell of every experiment in one line.

    Columns: dataset, model, sign, method, variant, floor; n (samples with a value), their groups, and answered (of
    them); what is missing: oom, error, skipped, undefined (ok, but no metric has a value); not_applicable, why the
    method refused every sample that it saw ("" if it did not); for every metric the ``column`` of its specification, a
    mean or a count; for metrics with an interval also _low and _high (95 %, over groups), and for those of the paper
    the interquartile mean _IQ with _IQ_low and _IQ_high, and _IQ_25_72 as the released notebooks have it; mean seconds
    and forward_tokens of a sample; and the paper's numbers as paper_mAP, paper_mAP_IQ, paper_mAR, paper_mAR_IQ,
    with their source as paper. NaN where there is no number.

    Within an experiment the methods come first, by mAP, and then the floors.

    Raises:
        StoreError: There are two values for one sample, metric and cell.
    """
    _check(frame)
    lines = [
        dict(zip(EXPERIMENT + CELL, key, strict=True)) | _summarise_cell(cell)
        for key, cell in frame.groupby(EXPERIMENT + CELL, sort=False)
    ]
    summary = pd.DataFrame(lines)
    summary.insert(len(EXPERIMENT + CELL), "floor", summary["method"].isin(FLOORS.names))
    _add_paper(summary, frame)
    ascending = {column: True for column in EXPERIMENT} | {"floor": True, "mAP": False} | {c: True for c in CELL}
    return summary.sort_values(list(ascending), ascending=list(ascending.values()), ignore_index=True)


def compare_to(frame: pd.DataFrame, method: str, variant: str = "default") -> pd.DataFrame:
    """Compare every cell with a reference cell of the same experiment, on the samples that both have a value for.

    By each metric that tables show with an interval, since verdicts depend on the metric.

    Columns: dataset, model, sign, method, variant, floor, metric, n (pairs), difference (cell - reference, mean, x
    100), low, high (95 %, over groups), p_value (sign flips over groups, not corrected for the number of comparisons).
    Sorted by the difference of mAP within an experiment; cells without a common sample are left out.

    Raises:
        StoreError: See ``summarise``.
        UnknownNameError: No experiment has values of these metrics, or of the reference.
    """
    _check(frame)
    metrics = list(with_interval().values())
    values = frame[frame["metric"].isin(metrics) & frame["value"].notna()]
    if values.empty:
        raise UnknownNameError("metric in these rows", CHOSEN_BY, frame["metric"].unique())
    cells = set(zip(values["method"], values["variant"], strict=True))
    if (method, variant) not in cells:
        raise UnknownNameError("method", cell_name(method, variant), (cell_name(*cell) for cell in cells))
    groups = values.groupby([*EXPERIMENT, "metric"])
    lines = [line for _, part in groups for line in _compare_within(part, method, variant)]
    comparison = pd.DataFrame(lines, columns=[*EXPERIMENT, *CELL, *_COMPARISON])
    places = comparison["metric"].map({metric: place for place, metric in enumerate(metrics)})
    ordered = comparison.assign(place=places).sort_values(
        [*EXPERIMENT, "place", "difference"], ascending=[True, True, True, True, False], ignore_index=True
    )
    return ordered.drop(columns="place")


def _check(frame: pd.DataFrame) -> None:
    # A sample that failed and succeeded when it was tried again has both rows; only the second one counts.
    ok = frame[frame["status"] == Status.OK]
    twice = ok[ok.duplicated([*EXPERIMENT, *CELL, "uid", "metric"], keep=False)]
    if len(twice):
        first = twice.iloc[0]
        prints = sorted(twice.loc[twice["uid"] == first["uid"], "fingerprint"].unique())
        raise StoreError(
            f"{cell_name(first['method'], first['variant'])} has several rows for sample {first['uid']!r} and metric "
            f"{first['metric']!r}, of the fingerprints {', '.join(prints)}; expected one: report on one run at a time"
        )


def _summarise_cell(cell: pd.DataFrame) -> dict[str, int | float | str]:
    ok = cell[cell["status"] == Status.OK]
    samples = ok.drop_duplicates("uid").set_index("uid")
    # Columns of metrics that were not computed are NaN, like values that are undefined.
    values = ok.pivot(index="uid", columns="metric", values="value")
    metrics = metrics_in_order()
    values = values.reindex(columns=list(metrics))
    shares = [name for name, spec in metrics.items() if not spec.is_count]
    defined = samples.loc[values.index[values[shares].notna().any(axis=1)]]
    failed = cell[~cell["uid"].isin(samples.index)].drop_duplicates("uid")["status"].value_counts()
    line: dict[str, int | float | str] = {
        "n": len(defined),
        "groups": defined["group"].nunique(),
        "answered": int(defined["answered"].eq(True).sum()),
        **{status.value: int(failed.get(status.value, 0)) for status in Status if status is not Status.OK},
        "undefined": len(samples) - len(defined),
        "not_applicable": _refusal(cell),
    }
    for name, spec in metrics.items():
        if spec.interval:
            averages = _averages(spec.column, values[name].dropna(), samples["group"], interquartile=spec.interquartile)
            line |= averages
        else:
            line[spec.column] = values[name].sum(min_count=1) if spec.is_count else 100 * values[name].mean()
    return line | {column: defined[column].mean() for column in ("seconds", "forward_tokens")}


def _refusal(cell: pd.DataFrame) -> str:
    """The one reason for which a method skipped all samples that got as far as to it, or nothing."""
    seen = cell[cell["n_units"] > 0]
    reasons = seen["error"].unique()
    return reasons[0] if len(reasons) == 1 and seen["status"].eq(Status.SKIPPED).all() else ""


def _averages(name: str, values: pd.Series, groups: pd.Series, *, interquartile: bool) -> dict[str, float]:
    """The averages of one metric of a cell, x 100; NaN where no sample has a value."""
    of_iq = ("_IQ", "_IQ_low", "_IQ_high", "_IQ_25_72") if interquartile else ()
    columns = [f"{name}{suffix}" for suffix in ("", "_low", "_high", *of_iq)]
    if values.empty:
        return dict.fromkeys(columns, np.nan)
    numbers, of = values.to_numpy(), groups.loc[values.index].to_numpy()
    unknown = Interval(np.nan, np.nan)
    mean = bootstrap_interval(numbers, of, MEAN) or unknown
    averages = [average(numbers, MEAN), mean.low, mean.high]
    if interquartile:
        iq = bootstrap_interval(numbers, of, IQ_MEAN) or unknown
        averages += [average(numbers, IQ_MEAN), iq.low, iq.high, average(numbers, IQ_25_72)]
    return {column: 100 * number for column, number in zip(columns, averages, strict=True)}


def _add_paper(summary: pd.DataFrame, frame: pd.DataFrame) -> None:
    """Add the paper's columns, and where its numbers stand as ``paper``, in place."""
    about = {
        (dataset, model): reported(str(dataset), str(model), part["uid"].unique())
        for (dataset, model), part in frame.groupby(["dataset", "model"])
    }
    found = [about[key] for key in summary[["dataset", "model"]].itertuples(index=False, name=None)]
    cells = summary[CELL].itertuples(index=False, name=None)
    printed = [{} if of is None else scores_of(of, *cell) for of, cell in zip(found, cells, strict=True)]
    summary["paper"] = ["" if of is None else of.source for of in found]
    for column in ("mAP", "mAP_IQ", "mAR", "mAR_IQ"):
        summary[f"paper_{column}"] = [scores.get(column, np.nan) for scores in printed]


def _compare_within(part: pd.DataFrame, method: str, variant: str) -> Iterator[dict[str, object]]:
    """Lines of one experiment; none where it lacks the reference."""
    cells = {key: cell.set_index("uid") for key, cell in part.groupby(CELL)}
    reference = cells.pop((method, variant), None)
    if reference is None:
        return
    for key, cell in cells.items():
        common = cell.index.intersection(reference.index)
        if common.empty:
            continue
        paired = compare(
            cell.loc[common, "value"].to_numpy(),
            reference.loc[common, "value"].to_numpy(),
            cell.loc[common, "group"].to_numpy(),
        )
        interval = paired.interval or Interval(np.nan, np.nan)
        yield dict(zip(EXPERIMENT, part[EXPERIMENT].iloc[0], strict=True)) | {
            **dict(zip(CELL, key, strict=True)),
            "floor": key[0] in FLOORS,
            "metric": part["metric"].iloc[0],
            "n": paired.n,
            "difference": 100 * paired.difference,
            "low": 100 * interval.low,
            "high": 100 * interval.high,
            "p_value": paired.p_value,
        }
