"""Sanity checks as a table, a figure and a verdict for each method and check."""

from collections.abc import Iterable, Sequence

import pandas as pd

from atman_bench.core.records import Status
from atman_bench.evaluation.sanity_records import Check, SanityRow
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._statistics import Interval, bootstrap_interval
from atman_bench.report._format import NOTHING, with_interval
from atman_bench.report.means import shared_columns
from atman_bench.report.render import TextTable
from atman_bench.report.tables import CELL, cell_name
from atman_bench.report.verdicts import Ending, Verdict

SIGN = "signed"

PASSES_BELOW = {Check.RANDOMISED: 0.5, Check.TARGET: 0.9, Check.ABSENT: 1 / 3}
"""A method passes where the whole interval of its mean lies below, and fails where it lies above."""

PASSES_ABOVE = {Check.DUPLICATE: 0.25}
"""Likewise, the other way round."""

HEADINGS = {
    Check.RANDOMISED: "all layers randomised ↓",
    Check.TARGET: "other target ↓",
    Check.DUPLICATE: "said twice ↑",
    Check.ABSENT: "answer absent ↓",
    Check.FACTOR_ONE: "f = 0",
}

CLAIMS = {
    Check.RANDOMISED: "depends on what the model has learned",
    Check.TARGET: "depends on the target",
    Check.DUPLICATE: "sees both sentences that give the answer",
    Check.ABSENT: "is flat where the context does not give the answer",
    Check.FACTOR_ONE: "is zero where nothing is suppressed",
}

NOTE = (
    "Means over n samples, [95 % bootstrap interval over groups]. All layers randomised, other target: rank "
    "correlation with the trained model's map of the target. Said twice: of the positive relevance of the two places, "
    "the share of the one with less; 0.5 is equal. Answer absent: of the highest scores with and without the sentences "
    "that give the answer, the share of the latter; 0.5 is as high. f = 0: the largest absolute score. ✓ ✗ ?: pass, "
    "fail, undecided; the interval lies on one side of 0.5, 0.9, 0.25 and 1/3, and f = 0 gives exactly 0. Floors see "
    "no model: what they pass says nothing."
)


def frame_of_checks(rows: Iterable[SanityRow], dataset: str, model: str) -> pd.DataFrame:
    """Rows as a data frame with the columns that figures and ``machine`` take, and ``check`` and ``share``.

    ``metric`` is ``sanity_`` and the check's name, with the share of randomised layers where there is one.

    Args:
        rows: From ``run_checks``.
        dataset: What tables call the dataset.
        model: Name of the model.
    """
    lines = [
        {
            **shared_columns(row, dataset, model),
            "metric": f"sanity_{row.check}" + (f"_{row.share:.2f}" if row.check is Check.RANDOMISED else ""),
            "value": row.value,
            "sign": SIGN,
            "check": row.check.value,
            "share": row.share,
        }
        for row in rows
    ]
    return pd.DataFrame(lines).astype({"value": float, "share": float})


def mean_of(lines: pd.DataFrame) -> tuple[float, Interval | None, int] | None:
    """Mean, its interval and n of the values of some rows; None where there is no value."""
    known = lines[lines["value"].notna() & lines["status"].eq(Status.OK)]
    if known.empty:
        return None
    values = known["value"].to_numpy()
    return float(values.mean()), bootstrap_interval(values, known["group"].to_numpy()), len(values)


def checked_cells(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Method and variant of each cell, floors last."""
    cells = [(str(m), str(v)) for m, v in frame[CELL].drop_duplicates().itertuples(index=False, name=None)]
    return sorted(cells, key=lambda cell: (cell[0] in FLOORS, cell))


def rows_of(frame: pd.DataFrame, cell: tuple[str, str], check: Check) -> pd.DataFrame:
    """The rows of one check of one cell; of randomised layers those where all were."""
    lines = frame[(frame["method"] == cell[0]) & (frame["variant"] == cell[1]) & (frame["check"] == check.value)]
    return lines[lines["share"] == 1] if check is Check.RANDOMISED else lines


def sanity_table(frame: pd.DataFrame, *, intervals: bool = True) -> TextTable:
    """A line for each method: the number of each check, and whether it passes.

    Args:
        frame: From ``frame_of_checks``.
        intervals: False leaves them out, to fit a terminal.
    """
    lines = []
    cells = checked_cells(frame)
    for cell in cells:
        texts = []
        for check in Check:
            found, ending = mean_of(rows_of(frame, cell, check)), ending_of(rows_of(frame, cell, check), check)
            if found is None:
                texts.append(NOTHING)
            else:
                number = _number(check, *found) if intervals else f"{found[0]:.2g}"
                texts.append(f"{number} {_mark(ending)}")
        n = frame[(frame["method"] == cell[0]) & (frame["variant"] == cell[1])]["uid"].nunique()
        lines.append((cell_name(*cell), str(n), *texts))
    dataset, model = frame[["dataset", "model"]].iloc[0]
    columns = ("method", "n", *(HEADINGS[check] for check in Check))
    return TextTable(f"Sanity: {dataset} · {model}", NOTE, columns, tuple(lines), tuple(c[0] in FLOORS for c in cells))


def verdicts_of(frame: pd.DataFrame) -> list[Verdict]:
    """A verdict on each check of each method; floors have none."""
    verdicts = []
    for cell in checked_cells(frame):
        if cell[0] in FLOORS:
            continue
        for check, claim in CLAIMS.items():
            lines = rows_of(frame, cell, check)
            found, ending = mean_of(lines), ending_of(lines, check)
            if found is None and check is Check.FACTOR_ONE:
                continue  # the method suppresses nothing by a factor
            if found is None:
                reasons = [reason for reason in lines["error"].unique() if reason]
                because = f"Not defined: {'; '.join(reasons) or 'no value'}."
            else:
                because = f"{HEADINGS[check].rstrip(' ↓↑')}: {_number(check, *found)}, n = {found[2]}."
            verdicts.append(Verdict(f"{cell_name(*cell)} {claim}", ending, because))
    return verdicts


def ending_of(lines: pd.DataFrame, check: Check) -> Ending:
    """Whether a method passes a check."""
    found = mean_of(lines)
    if found is None:
        return Ending.UNTESTED
    mean, interval, _ = found
    if check is Check.FACTOR_ONE:
        return Ending.HOLDS if mean == 0 else Ending.OPPOSITE
    if interval is None:
        return Ending.OPEN
    below, above = PASSES_BELOW.get(check), PASSES_ABOVE.get(check)
    bound = below if below is not None else above
    assert bound is not None  # one of the two holds every check but the factor of 1
    if interval.high < bound:
        return Ending.HOLDS if below is not None else Ending.OPPOSITE
    if interval.low > bound:
        return Ending.OPPOSITE if below is not None else Ending.HOLDS
    return Ending.OPEN


def markdown(frame: pd.DataFrame, notes: Sequence[str]) -> str:
    """The table, the verdicts, and what else should be said."""
    verdicts = "\n".join(f"- {verdict.mark} {verdict.head} {verdict.details}" for verdict in verdicts_of(frame))
    return "\n\n".join([sanity_table(frame).markdown().rstrip(), verdicts, *notes]) + "\n"


def _number(check: Check, mean: float, interval: Interval | None, n: int) -> str:
    if check is Check.FACTOR_ONE:
        return f"{mean:.2g}"
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return with_interval(mean, low, high, form=".2f")


def _mark(ending: Ending) -> str:
    return Verdict("", ending, "").mark
