"""Faithfulness as tables: both interventions side by side, whom they favour, and what measuring takes."""

from collections.abc import Mapping, Sequence

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from atman_bench.core.records import Intervention, Status
from atman_bench.evaluation.faithfulness_records import Faithfulness, Spent
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.metrics.faithfulness import MEASURES
from atman_bench.report._format import NOTHING, number, with_interval
from atman_bench.report.means import Column, Means, means_of, measure_column, shared_columns
from atman_bench.report.render import TextTable
from atman_bench.report.tables import CELL, cell_name

SIGN = "signed"
"""What stands for the sign rule: sums and orders take scores as they are."""

IN_TERMINAL = ("lds", "deletion_auc", "insertion_auc", "top3_drop")

NOTE = (
    "[95 % bootstrap interval over groups]; floors see no model; ↓ lower is better. Units are taken away by attention "
    "(all scores of theirs suppressed, AtMan's edit in the shifted form, f = 1) or by embedding (replaced by zeros). "
    "x 100, but top-k drops in nats. Maps are scored signed."
)

CURVES = (
    " Deletion, insertion and ABPC are of the samples (n) whose target loses at least 1 nat where all is taken away."
)

CONTRAST = (
    " Of samples with a foil the measures are of the contrast, log p - log p(foil) in the place of log p, and of the "
    "target's share of the two, p / (p + p(foil)), in the place of p."
)


def note_of(frame: pd.DataFrame) -> str:
    """How the measures of a frame are to be read."""
    curves = frame["measure"].isin(["deletion_auc", "insertion_auc", "abpc"]).any()
    return NOTE + (CURVES if curves else "") + (CONTRAST if frame["contrast"].any() else "")


def frame_of_faithfulness(found: Faithfulness, dataset: str, model: str) -> pd.DataFrame:
    """Rows of one run as a data frame with the columns of ``tables.frame_of``, as far as there are any.

    A line for each row and measure; ``metric`` is the measure's name and the intervention (``lds_attention``), beside
    which ``measure``, ``intervention``, ``perturbs`` ("" for None), ``passes`` and ``contrast`` stand by themselves.

    Args:
        found: From ``evaluate_faithfulness``.
        dataset: What tables call the dataset.
        model: Name of the model.
    """
    lines = [
        {
            **shared_columns(row, dataset, model),
            "metric": f"{measure}_{row.intervention}",
            "value": row.values.get(measure),
            "sign": SIGN,
            "measure": measure,
            "intervention": row.intervention.value,
            "perturbs": "" if row.perturbs is None else row.perturbs.value,
            "passes": row.passes.get(measure),
            "contrast": row.contrast,
        }
        for row in found.rows
        for measure in found.measures
    ]
    return pd.DataFrame(lines).astype({"value": float, "passes": float})


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """Every measure of the frame under every intervention, interventions side by side."""
    present = set(frame["metric"])
    columns = [measure_column(name, intervention) for name in MEASURES for intervention in Intervention]
    return [column for column in columns if column.metric in present]


def faithfulness_tables(frame: pd.DataFrame, spent: Mapping[Intervention, Spent]) -> list[TextTable]:
    """The tables of one run: means, whom each intervention favours, what measuring took."""
    dataset, model = frame[["dataset", "model"]].iloc[0]
    means = means_of(frame, columns_of(frame))
    tables = [means.table(f"Faithfulness: {dataset} · {model}", note_of(frame))]
    favours = favour_table(frame)
    return [*tables, *([favours] if favours.lines else []), cost_table(frame, spent, frame["uid"].nunique())]


def terminal_table(frame: pd.DataFrame) -> Table:
    """The main measures without intervals, ``attention | embedding`` in each cell, to fit 120 characters."""
    means = means_of(frame, columns_of(frame))
    shown = [name for name in IN_TERMINAL if any(column.metric.startswith(name) for column in means.columns)]
    shown = shown or list(dict.fromkeys(frame["measure"]))
    dataset, model = frame[["dataset", "model"]].iloc[0]
    note = "attention | embedding: how units are taken away; ↓ lower is better; faithfulness.md has intervals"
    table = Table(
        title=Text(f"Faithfulness: {dataset} · {model}", "bold"), caption=Text(note, "dim"), box=box.SIMPLE_HEAD
    )
    table.add_column("method", no_wrap=True)
    for heading in ("n", *(_heading(name) for name in shown)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("missing", justify="right")
    for cell in means.by_cell:
        pairs = (" | ".join(_mean(means, cell, name, kind) for kind in Intervention) for name in shown)
        style = "dim" if cell[0] in FLOORS else None
        table.add_row(cell_name(*cell), str(means.samples[cell]), *pairs, means.missing_text(cell), style=style)
    return table


def favour_table(frame: pd.DataFrame) -> TextTable:
    """By how many ranks methods that perturb stand higher where units are taken away as they do it.

    On every sample the methods (floors left out) are ranked by a measure under both interventions. What a method gains
    is its rank under the other kind of intervention minus that under its own; positive favours it. A line for each
    measure, a column for each kind of method; empty where no method perturbs or only one kind of intervention was run.
    """
    kinds = {kind: _names(frame, kind) for kind in Intervention}
    kinds = {kind: names for kind, names in kinds.items() if names}
    lines = []
    ranked = 0
    for measure in dict.fromkeys(frame["measure"]) if kinds else ():
        ranks = _ranks_by_intervention(frame[frame["measure"] == measure], MEASURES[measure].higher_is_better)
        if len(ranks) < len(Intervention) or ranks[Intervention.ATTENTION].empty:
            continue
        attention, embedding = ranks[Intervention.ATTENTION], ranks[Intervention.EMBEDDING]
        ranked = max(ranked, attention.shape[1])
        gains = {Intervention.ATTENTION: embedding - attention, Intervention.EMBEDDING: attention - embedding}
        texts = [_gain(gains[kind], names) for kind, names in kinds.items()]
        lines.append((MEASURES[measure].heading, str(len(attention)), *texts))
    listed = "; ".join(f"by {kind}: {', '.join(names)}" for kind, names in kinds.items())
    note = (
        f"Ranks (of {ranked} methods, floors left out) that methods gain where units are taken away as they do it, "
        "against where they are taken away the other way: mean over samples and methods, [95 % interval over groups]. "
        f"Above 0 the measure favours what perturbs alike. Methods that perturb {listed}."
    )
    columns = ("measure", "n", *(f"gained by {kind} methods" for kind in kinds))
    return TextTable("Whom the interventions favour", note, columns, tuple(lines), (False,) * len(lines))


def cost_table(frame: pd.DataFrame, spent: Mapping[Intervention, Spent], n: int) -> TextTable:
    """What each measure takes by itself for one map, and what all of them took together.

    Args:
        frame: From ``frame_of_faithfulness``.
        spent: What running subsets took.
        n: On how many samples.
    """
    lines = []
    for measure in dict.fromkeys(frame["measure"]):
        passes = frame.loc[frame["measure"] == measure, "passes"].mean()
        shared = "all methods" if MEASURES[measure].subsets == ("bank",) else "–"
        costs = (_cost(passes, spent.get(kind)) for kind in Intervention)
        texts = [text for pair in costs for text in pair]
        lines.append((MEASURES[measure].heading, number(passes), shared, *texts))
    together = []
    for kind in Intervention:
        took = spent.get(kind)
        together += (
            [NOTHING, NOTHING]
            if took is None
            else [
                number(took.forward_tokens / n, ",.0f"),
                number(took.seconds / n, ".3g"),
            ]
        )
    passes = sum(took.subsets for took in spent.values()) / n / max(len(spent), 1)
    lines.append(("all measures of all methods, together", number(passes), "", *together))
    headings = [f"{what}, {kind}" for kind in Intervention for what in ("positions", "seconds")]
    note = (
        "For one map, if nothing were shared: different subsets (a forward pass each at most), and these times the "
        "mean positions and seconds of a subset in the sweeps that ran. Last line: what ran for a sample under one "
        "intervention, each subset once for all methods and measures. The bank's 64 subsets serve all methods."
    )
    columns = ("measure", "passes", "shared by", *headings)
    return TextTable("What measuring takes, per sample", note, columns, tuple(lines), (False,) * len(lines))


def _cost(passes: float, spent: Spent | None) -> tuple[str, str]:
    if spent is None or not spent.subsets:
        return NOTHING, NOTHING
    positions, seconds = spent.forward_tokens / spent.subsets, spent.seconds / spent.subsets
    return number(passes * positions, ",.0f"), number(passes * seconds, ".3g")


def _heading(measure: str) -> str:
    about = MEASURES[measure]
    return about.heading if about.higher_is_better else f"{about.heading} ↓"


def _mean(means: Means, cell: tuple[str, str], measure: str, kind: Intervention) -> str:
    column = measure_column(measure, kind)
    found = means.by_cell[cell].get(column.metric)
    return NOTHING if found is None else number(found["mean"], column.form)


def _names(frame: pd.DataFrame, kind: Intervention) -> list[str]:
    cells = frame.loc[frame["perturbs"] == kind.value, CELL].drop_duplicates()
    return [cell_name(method, variant) for method, variant in cells.itertuples(index=False, name=None)]


def _ranks_by_intervention(lines: pd.DataFrame, higher_is_better: bool) -> dict[Intervention, pd.DataFrame]:
    """Ranks (1 = best) of the methods on each sample that all have a value of, under each intervention."""
    known = lines[lines["value"].notna() & lines["status"].eq(Status.OK) & ~lines["method"].isin(FLOORS.names)]
    named = known.assign(cell=[cell_name(*cell) for cell in known[CELL].itertuples(index=False, name=None)])
    tables = {
        kind: named[named["intervention"] == kind.value].pivot(index=["group", "uid"], columns="cell", values="value")
        for kind in Intervention
        if named["intervention"].eq(kind.value).any()
    }
    if len(tables) < len(Intervention):
        return {}
    cells = sorted(set.intersection(*(set(table.columns) for table in tables.values())))
    whole = [table[cells].dropna().index for table in tables.values()]
    common = whole[0].intersection(whole[1]).sort_values()
    return {
        kind: table.loc[common, cells].rank(axis=1, ascending=not higher_is_better) for kind, table in tables.items()
    }


def _gain(gains: pd.DataFrame, names: Sequence[str]) -> str:
    chosen = gains[[name for name in names if name in gains]]
    if chosen.shape[1] == 0:
        return NOTHING
    values = chosen.mean(axis=1).to_numpy()
    interval = bootstrap_interval(values, gains.index.get_level_values("group").to_numpy())
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return with_interval(float(values.mean()), low, high, form="+.2f")
