"""``atman-bench table``: tables from stored results, under any sign rule, without a model."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from atman_bench.report.figure_files import FigureFormat


class Format(StrEnum):
    """What a table is printed as."""

    MARKDOWN = "markdown"
    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "table",
        epilog=_options.examples(
            "atman-bench table results",
            "atman-bench table results --reference atman --sign positive,absolute",
            "atman-bench table results --format csv > table.csv",
        ),
    )(table)


def table(
    results: Annotated[Path, typer.Argument(help="A results folder of atman-bench eval.")],
    signs: Annotated[
        str, typer.Option("--sign", help="How signed scores become a map; several by commas give a table each.")
    ] = "positive",
    metrics: _options.Metrics = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="METHOD:VARIANT (atman:shifted) that all others are compared with, in pairs."),
    ] = None,
    answered: Annotated[
        bool, typer.Option("--answered", help="Only the questions that the model answers greedily.")
    ] = False,
    all_samples: Annotated[
        bool,
        typer.Option("--all-samples", help="All stored samples of each method, not those that all methods have."),
    ] = False,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Print this and nothing else; json and csv: a record for each method and metric."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it here as well; Markdown unless --format.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Draw these rows into this folder; of several datasets, a folder in it each."),
    ] = None,
    figure_format: _options.FigureFormats = None,
) -> None:
    """Print tables from stored results: other sign rules, paired comparisons, or the answered questions alone.

    Methods are compared on the samples that all of them were run on. Metrics come from stored rows, and from the stored
    maps where these lack one: no model is loaded, and nothing is written but --out and --figures.
    """
    from atman_bench.evaluation.scoring import scored_folder
    from atman_bench.metrics import chosen_metrics
    from atman_bench.report import machine, render, tables
    from atman_bench.report.selection import on_common_samples

    chosen = [_options.sign_rule(name.strip()) for name in signs.split(",")]
    cells = scored_folder(results, chosen_metrics(metrics or ()), chosen)  # the option's callback has split them
    frame = tables.frame_of(cells)
    if answered:
        frame = tables.answered_only(frame)
    everything = frame
    notes = [
        f"{tables.cell_name(cell.method, cell.variant)} on {cell.dataset}: no rows under this sign rule, and no maps."
        for cell in cells
        if not cell.rows
    ]
    if not all_samples:
        frame, restrictions = on_common_samples(frame)
        notes = [*restrictions, *notes]
    if form in (Format.JSON, Format.CSV):
        text = machine.as_json(frame) if form is Format.JSON else machine.as_csv(frame)
        echo(text, nl=False)
    else:
        summary = tables.summarise(frame)
        markdown, printed = [render.summary_markdown(summary)], [*render.summary_rich(summary)]
        if notes:
            markdown.append("\n".join(f"- {note}" for note in notes) + "\n")
        if reference is not None:
            method, _, variant = reference.partition(":")
            compared = tables.compare_to(everything, method.replace("-", "_"), variant or "default")
            markdown.append(render.comparison_markdown(compared, reference))
            printed += render.comparison_rich(compared, reference)
        text = "\n".join(markdown)
        if form is Format.MARKDOWN:
            echo(text, nl=False)
        else:
            screen = console()
            for item in printed:
                screen.print(item)
            for note in notes:
                screen.print(note)
    if out is not None:
        write_atomically(out, text)
    if figures is not None:
        _draw(frame, figures, _options.figure_formats(figure_format))


def _draw(frame: "pd.DataFrame", folder: Path, formats: "Sequence[FigureFormat]") -> None:
    """Draw the rows of each dataset, model and sign rule by themselves: they are never mixed."""
    from atman_bench.core.jsonl import safe_name
    from atman_bench.report.figures import draw_all
    from atman_bench.report.tables import EXPERIMENT

    groups = frame.groupby(EXPERIMENT, sort=False)
    for key, part in groups:
        draw_all(part, folder if len(groups) == 1 else folder / safe_name("-".join(map(str, key))), formats)
