"""Our costs beside the paper's: its readings, its marks of what did not fit, and what A.1 says of memory."""

import pandas as pd

from atman_bench.profiling.rows import PLAIN, ScaleStatus
from atman_bench.report._cost_cells import Row, by_place, gigabytes, place_of, status_of, table_of
from atman_bench.report._format import NOTHING, number
from atman_bench.report._paper_costs import OOM, READINGS, Reading, paper_reading
from atman_bench.report.render import TextTable

FULL, MINIMAL = "chefer:full", "chefer"
"""Chefer as in Fig. 5, with gradients of all weights, and as in Fig. 7, with those of the attention maps alone."""

_PLAIN = f"{PLAIN}:default"
_BATCHED = "integrated_gradients:batched"
_METHODS = {
    "atman, batch 1": "AtMan, batch 1",
    FULL: "Chefer, full",
    MINIMAL: "Chefer, minimal",
    "input_x_gradient": "IxG",
    _BATCHED: "IG, one batch",
    "gradcam": "GradCAM, 144 tokens",
}
"""Name of a cell -> header of its column."""


def paper_tables(frame: pd.DataFrame) -> tuple[TextTable, ...]:
    """All of them; those that the rows have nothing for have no lines.

    Args:
        frame: From ``costs.frame_of``.
    """
    return _readings(frame), _marks(frame), _beside_plain(frame)


def _readings(frame: pd.DataFrame) -> TextTable:
    """The cells that the paper's Fig. 5 shows too, with its readings."""
    alone = frame[(frame["workers"] == 1) & (frame["batch"].eq(1) | frame["units"].isna())]
    lines = [
        (
            place_of(row),
            str(row["tokens"]),
            str(row["name"]),
            number(row["time"], ".3g"),
            _paper_number(reading, reading.seconds, ".4g"),
            number(gigabytes(row), ".1f"),
            _paper_number(reading, reading.gigabytes, ".1f"),
            status_of(row),
        )
        for row in alone.to_dict("records")
        if (reading := paper_reading(row["model"], row["method"], row["variant"], row["tokens"])) is not None
    ]
    columns = ("model", "tokens", "method", "time, s", "paper, s", "with weights, GB", "paper, GB", "status")
    note = (
        "The paper's numbers are read off its Fig. 5: memory to 0.5 GB, and its weights hold an image encoder and "
        "adapters besides (0.8 GB for 6.0B). Its AtMan ran one whole pass per token."
    )
    return table_of("Beside the paper", note, columns, lines)


def _marks(frame: pd.DataFrame) -> TextTable:
    """Each lightning of the paper's Fig. 5, and whether ours come out at the same model and length."""
    lines: list[tuple[str, ...]] = []
    marks: dict[str, list[bool]] = {FULL: [], MINIMAL: []}
    others: dict[str, list[bool]] = {FULL: [], MINIMAL: []}
    for place, rows in by_place(frame):
        for tokens in READINGS["chefer", "full"]:
            reading = paper_reading(rows["model"].iloc[0], "chefer", "full", tokens)
            found = {name: _cell(rows, name, tokens) for name in (FULL, MINIMAL)}
            if reading is None or not any(found.values()):
                continue
            for name, row in found.items():
                if row:
                    (marks if reading == OOM else others)[name].append(row["status"] == ScaleStatus.OOM)
            if reading == OOM:
                cells = [text for row in found.values() for text in _memory(row)]
                lines.append((place, str(tokens), "out of memory", *cells))
    memory = "with weights, GB"
    columns = ("model", "tokens", "paper (Fig. 5)", FULL, memory, f"{MINIMAL} (minimal)", memory)
    told = "; ".join(
        f"{name}: {sum(marks[name])} of the paper's {len(marks[name])} marks come out, and {sum(others[name])} where "
        f"it has none ({len(others[name])} cells)"
        for name in (FULL, MINIMAL)
        if marks[name]
    )
    note = (
        f"Cells that did not fit 80 GB in the paper's Fig. 5, which ran {FULL}. {told}. Of its Fig. 7 (minimal "
        "gradients) no values are given here: the paper says that the key message remains the same (A.1)."
    )
    return table_of("The paper's out-of-memory marks", note, columns, lines)


def _beside_plain(frame: pd.DataFrame) -> TextTable:
    """What A.1 says of memory: each method at the greatest length beside a plain pass, and GradCAM at its own."""
    places = [
        (place, rows, plain)
        for place, rows in by_place(frame)
        if (plain := _cell(rows, _PLAIN, int(rows["tokens"].max()))) is not None
    ]
    shown = [name for name in _METHODS if any(rows["name"].eq(name).any() for _, rows, _ in places)]
    lines = [
        (
            place,
            str(plain["tokens"]),
            number(gigabytes(plain), ".3g"),
            *(_compared(_cell(rows, name, None if name == "gradcam" else plain["tokens"]), plain) for name in shown),
        )
        for place, rows, plain in places
    ]
    columns = ("model", "tokens", "plain pass, GB", *(_METHODS[name] for name in shown))
    note = (
        "Peak memory with weights, GB, and how much more it is than that of a plain pass with transformers' defaults. "
        "The paper: AtMan stays near the plain pass (Fig. 5), IxG takes more than 50 % more and fails up to 34B, IG "
        "vastly runs out of memory (A.1), GradCAM at 144 tokens takes as much as a forward pass of 1,024 (Fig. 7). No "
        "image encoder runs here."
    )
    batched = frame[frame["name"] == _BATCHED]
    if len(batched):
        failed = int(batched["status"].eq(ScaleStatus.OOM).sum())
        note += f" IG with all its steps in one batch: out of memory in {failed} of {len(batched)} sizes and lengths."
    return table_of("Memory beside a plain pass", note, columns, lines if shown else [])


def _cell(rows: pd.DataFrame, name: str, tokens: int | None = None) -> Row | None:
    """The cell of a name, at one length if that is given."""
    found = rows[rows["name"].eq(name) & (True if tokens is None else rows["tokens"].eq(tokens))]
    return None if found.empty else found.iloc[0].to_dict()


def _memory(row: Row | None) -> tuple[str, str]:
    if row is None:
        return NOTHING, NOTHING
    words = {ScaleStatus.OOM: "out of memory", ScaleStatus.OK: "fits"}
    simulated = "" if row["source"] == "measured" else f" ({row['source']})"
    return f"{words.get(row['status'], row['status'])}{simulated}", number(gigabytes(row), ".1f")


def _compared(row: Row | None, plain: Row) -> str:
    """Memory of a cell, and by how much it is above that of a plain pass."""
    if row is None:
        return NOTHING
    if pd.isna(row["total"]):
        return str(row["status"])
    failed = ", oom" if row["status"] == ScaleStatus.OOM else ""
    more = round(row["total"] / plain["total"] - 1, 2) + 0.0  # no "-0 %"
    return f"{gigabytes(row):.3g} ({more:+.0%}{failed})"


def _paper_number(reading: Reading, value: float | None, form: str) -> str:
    return ScaleStatus.OOM if reading == OOM else number(value, form)
