"""The leaderboard: every method by quality, faithfulness and cost, as a page and as records."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from atman_bench.core.jsonl import safe_name
from atman_bench.core.records import SCHEMA
from atman_bench.evaluation.leaderboard_store import FOLDER
from atman_bench.methods.floors import FLOORS
from atman_bench.report._format import NOTHING, number
from atman_bench.report.faithfulness import cost_table, favour_table, note_of
from atman_bench.report.figure_files import FigureFormat
from atman_bench.report.figures import FIGURES
from atman_bench.report.leaderboard_columns import FAITHFULNESS, FAMILIES, LOCALISATION
from atman_bench.report.leaderboard_panels import Panel
from atman_bench.report.machine import as_csv, records
from atman_bench.report.means import Cell, Means, means_of, scales_of
from atman_bench.report.page import Section, Stored
from atman_bench.report.ranking import Ranking, rank_cells
from atman_bench.report.render import TextTable
from atman_bench.report.tables import cell_name

TITLE = "Which explanation method, and at what cost?"

HOW_TO_READ = (
    "Localisation asks whether a map points at the ground truth (AP, AUPRC, the share of it in the best 10 % of units, "
    "the pointing game), faithfulness whether it says what the model does where units are taken away. The two need not "
    "agree: a model may use what nobody marked.",
    "Units are taken away in two ways, side by side: by attention (AtMan's edit, which AtMan's family shares) and by "
    "embedding (zeros, which occlusion, LIME, SHAP and integrated gradients share). Each panel says by how many ranks "
    "methods are favoured where units are taken away as they do it themselves.",
    "Costs are multiples of one plain forward pass of the same model on the same sample, measured beside it.",
    "Ranks count every metric the same. Methods that differ by less than the critical difference (Friedman and "
    "Nemenyi, 5 %, over groups of samples) are not told apart.",
)


def sections_of(panels: Sequence[Panel], results: Path, formats: Sequence[FigureFormat]) -> list[Stored]:
    """An overview and a section for each panel; draws their figures into ``RESULTS/leaderboard/figures``.

    Raises:
        StoreError: A figure cannot be written.
    """
    folder = results / FOLDER / "figures"
    sections = [_section(panel, folder, formats) for panel in panels]
    overview = Section(
        name="overview",
        title="mean ranks over all metrics",
        paper=f"{len(panels)} panels",
        preset="own",
        command="atman-bench leaderboard page RESULTS",
        tables=tuple(table for table in (overview_table(panels), families_table(panels)) if table.lines),
        notes=HOW_TO_READ,
    )
    return [Stored(section, folder) for section in (overview, *sections)]


def overview_table(panels: Sequence[Panel]) -> TextTable:
    """Mean rank of every method over all metrics in every panel, methods by their mean place."""
    rankings = [rank_cells(panel.frame, FAMILIES["all metrics"]) for panel in panels]
    places = _places(rankings)
    lines = [
        (
            cell_name(*cell),
            *(NOTHING if r is None else number(r.mean_ranks.get(cell)) for r in rankings),
            number(100 * mean(of_cell), ".0f"),
            str(len(of_cell)),
        )
        for cell, of_cell in places.items()
    ]
    headings = [
        panel.name if ranking is None else f"{panel.name} (of {len(ranking.mean_ranks)})"
        for panel, ranking in zip(panels, rankings, strict=True)
    ]
    note = (
        "1 = best. Panels rank different numbers of methods, so the last columns give the mean place, 0 = always first "
        "and 100 = always last, and in how many panels. Critical differences stand in the panels."
    )
    columns = ("method", *headings, "mean place", "panels")
    return TextTable("Mean ranks", note, columns, tuple(lines), tuple(cell[0] in FLOORS for cell in places))


def families_table(panels: Sequence[Panel]) -> TextTable:
    """Mean place of every method by each family of metrics: who leads may turn with what is measured."""
    by_family = [_places(rank_cells(panel.frame, columns) for panel in panels) for columns in FAMILIES.values()]
    lines = [
        (
            cell_name(*cell),
            *(number(100 * mean(places[cell]), ".0f") if cell in places else NOTHING for places in by_family),
        )
        for cell in by_family[0]
    ]
    note = "0 = always first, 100 = always last, by mean rank over the metrics of a family; mean over the panels."
    floors = tuple(cell[0] in FLOORS for cell in by_family[0])
    return TextTable("Mean places by what is measured", note, ("method", *FAMILIES), tuple(lines), floors)


def _places(rankings: Iterable[Ranking | None]) -> dict[Cell, list[float]]:
    """The place of each method in each panel that ranks it, 0 = first, 1 = last; methods by the mean, floors last."""
    places: dict[Cell, list[float]] = {}
    for ranking in filter(None, rankings):
        for cell, rank in ranking.mean_ranks.items():
            places.setdefault(cell, []).append((rank - 1) / max(len(ranking.mean_ranks) - 1, 1))
    return dict(sorted(places.items(), key=lambda item: (item[0][0] in FLOORS, mean(item[1]), item[0])))


def panel_tables(panel: Panel) -> list[TextTable]:
    """The tables of one panel."""
    where = panel.name
    located = means_of(panel.frame, LOCALISATION)
    groups = panel.frame["group"].nunique()
    signs = ", ".join(dict.fromkeys(run.sign for run in panel.runs))
    note = f"x 100; [95 % bootstrap interval over {groups} groups]; sign {signs}; floors see no model."
    tables = [located.table(f"Localisation: {where}", note)]
    if not panel.faithfulness.empty:
        faithful = means_of(panel.frame, FAITHFULNESS)
        tables.append(faithful.table(f"Faithfulness: {where}", note_of(panel.faithfulness)))
        favours = favour_table(panel.faithfulness)
        tables += [favours] if favours.lines else []
    tables.append(costs_table(panel, located))
    tables.append(ranks_table(panel))
    if not panel.faithfulness.empty:
        tables.append(cost_table(panel.faithfulness, panel.spent, panel.spent_on))
    tables.append(funnel_table(panel))
    return [table for table in tables if table.lines]


def costs_table(panel: Panel, located: Means) -> TextTable:
    """What each method costs, relative to a plain forward pass."""
    lines: list[tuple[str, ...]] = []
    for cell in located.by_cell:
        cost = panel.costs.get(cell)
        if cost is None or cost.error is not None:
            lines.append((cell_name(*cell), *[NOTHING] * 4, "not measured" if cost is None else cost.error or ""))
            continue
        numbers = (number(value, ".3g") for value in (cost.seconds, cost.passes, cost.peak))
        lines.append((cell_name(*cell), *numbers, str(cost.n), ""))
    plain = [cost for cost in panel.costs.values() if cost.plain_seconds is not None]
    note = "Medians over n samples of typical lengths; passes count forward positions, time backward passes too."
    if plain:
        seconds = sorted(cost.plain_seconds or 0.0 for cost in plain)[len(plain) // 2]
        peaks = sorted(cost.plain_peak_bytes or 0 for cost in plain)[len(plain) // 2]
        note += f" A plain pass takes {1000 * seconds:.3g} ms and {peaks / 1e6:.3g} MB of tensors beside the weights."
    columns: tuple[str, ...] = ("method", "time / plain pass", "passes", "peak memory / plain pass", "n", "why not")
    if not any(line[-1] for line in lines):
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    floors = tuple(cell[0] in FLOORS for cell in located.by_cell)
    return TextTable(f"Costs: {panel.name}", note, columns, tuple(lines), floors)


def ranks_table(panel: Panel) -> TextTable:
    """Mean ranks by each family of metrics; empty where there are too few groups in common."""
    rankings = {name: rank_cells(panel.frame, columns) for name, columns in FAMILIES.items()}
    known = {name: ranking for name, ranking in rankings.items() if ranking is not None}
    first = next(iter(known.values()), None)
    order = list(dict.fromkeys(cell for ranking in known.values() for cell in ranking.mean_ranks))
    lines = [
        (cell_name(*cell), *(number(ranking.mean_ranks.get(cell)) for ranking in known.values())) for cell in order
    ]
    note = "1 = best; ranks within each group of samples, over the samples that all of them have. " + " ".join(
        f"{name.capitalize()}: {_test(ranking)}." for name, ranking in known.items()
    )
    if first and first.left_out:
        names = ", ".join(cell_name(*cell) for cell in first.left_out)
        note += f" Not ranked, for too few samples or a metric that they lack: {names}."
    floors = tuple(cell[0] in FLOORS for cell in order)
    return TextTable(f"Mean ranks: {panel.name}", note, ("method", *known), tuple(lines), floors)


def funnel_table(panel: Panel) -> TextTable:
    """From the candidates of the dataset to the samples that were used, with the reason of each loss."""
    lines = []
    for run in panel.runs:
        used = len(run.uids)
        beyond = run.n_candidates - run.n_passed_over - used
        of_run = panel.frame[panel.frame["uid"].isin(run.uids)].drop_duplicates("uid")
        answered = int(of_run["answered"].eq(True).sum()) if "answered" in of_run else 0
        steps = [("candidates", run.n_candidates), *((f"- {reason}", count) for reason, count in run.skipped.items())]
        steps += [("- beyond the limit, not looked at", beyond)] if beyond else []
        steps += [("used", used), ("of these answered greedily by the model", answered)]
        lines += [(run.name, step, f"{count:,}") for step, count in steps]
    note = "Reasons may also count words or entries of one sample."
    title, columns = f"From candidates to samples: {panel.name}", ("run", "step", "n")
    return TextTable(title, note, columns, tuple(lines), (False,) * len(lines))


def as_records(panels: Sequence[Panel]) -> str:
    """Everything on the page as JSON: ``panels`` with ``records`` (see ``machine``), ``ranks``, ``costs``, ``runs``."""
    content = {"schema": SCHEMA, "panels": [_panel_record(panel) for panel in panels]}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_table(panels: Sequence[Panel]) -> str:
    """The means of all panels as comma-separated values."""
    columns = (*LOCALISATION, *FAITHFULNESS)
    names = [column.metric for column in columns]
    frame = pd.concat([panel.frame[panel.frame["metric"].isin(names)] for panel in panels], ignore_index=True)
    return as_csv(frame, scales_of(columns))


def _section(panel: Panel, folder: Path, formats: Sequence[FigureFormat]) -> Section:
    figures = {}
    for name in ("pareto", "ranks", "faithfulness"):
        figure = FIGURES.get(name)
        if not figure.lacks(panel.frame):
            stem = safe_name(f"{panel.dataset}-{panel.model}-{name}")
            figure.draw(panel.frame, folder / stem, formats)
            figures[stem] = f"{panel.name}: {figure.summary}"
    names = ", ".join(run.name for run in panel.runs)
    return Section(
        name=panel.name,
        title=f"n = {panel.frame['uid'].nunique()}",
        paper=f"Configurations: {names}",
        preset="own",
        command="; ".join(run.command for run in panel.runs),
        tables=tuple(panel_tables(panel)),
        figures=figures,
        notes=tuple(run.note for run in panel.runs if run.note),
        manifest={run.name: dict(run.environment) for run in panel.runs},
    )


def _panel_record(panel: Panel) -> dict[str, Any]:
    columns = (*LOCALISATION, *FAITHFULNESS)
    shown = panel.frame[panel.frame["metric"].isin([column.metric for column in columns])]
    return {
        "dataset": panel.dataset,
        "model": panel.model,
        "records": records(shown, scales_of(columns)),
        "ranks": {
            name: _ranking_record(ranking)
            for name, of_family in FAMILIES.items()
            if (ranking := rank_cells(panel.frame, of_family)) is not None
        },
        "costs": [{"method": m, "variant": v, **asdict(cost)} for (m, v), cost in panel.costs.items()],
        "runs": [
            {
                "name": run.name,
                "note": run.note,
                "n_candidates": run.n_candidates,
                "n_used": len(run.uids),
                "skipped": dict(run.skipped),
            }
            for run in panel.runs
        ],
    }


def _ranking_record(ranking: Ranking) -> dict[str, Any]:
    return {
        "mean_ranks": [{"method": m, "variant": v, "mean_rank": rank} for (m, v), rank in ranking.mean_ranks.items()],
        "blocks": ranking.n_blocks,
        "samples": ranking.n_samples,
        "friedman_p": ranking.p_value,
        "critical_difference": ranking.critical_difference,
        "left_out": [{"method": m, "variant": v} for m, v in ranking.left_out],
    }


def _test(ranking: Ranking) -> str:
    p = "" if ranking.p_value is None else f", Friedman p = {ranking.p_value:.2g}"
    samples = f"{ranking.n_samples} samples in {ranking.n_blocks} groups"
    return f"critical difference {ranking.critical_difference:.1f} ({samples}{p})"
