"""``atman-bench table``: tables from stored results, under any sign rule, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from atman_bench.cli import _options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("table")(table)


def table(
    results: Annotated[Path, typer.Argument(help="A results folder of atman-bench eval.")],
    signs: Annotated[
        str, typer.Option("--sign", help="How signed scores become a map; several by commas give a table each.")
    ] = "positive",
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="METHOD:VARIANT (atman:shifted) that all others are compared with, in pairs."),
    ] = None,
    answered: Annotated[
        bool, typer.Option("--answered", help="Only the questions that the model answers greedily.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write Markdown here as well.")] = None,
) -> None:
    """Print tables from stored results: other sign rules, paired comparisons, or the answered questions alone.

    Metrics are recomputed from the stored maps: no model is loaded, and nothing is written but --out.
    """
    from atman_bench.cli._console import console
    from atman_bench.core.errors import StoreError
    from atman_bench.evaluation.scoring import rescore
    from atman_bench.metrics import METRICS
    from atman_bench.report import render, tables

    chosen = [_options.sign_rule(name.strip()) for name in signs.split(",")]
    frame = tables.frame_of(row for sign in chosen for row in rescore(results, METRICS.names, sign))
    if answered:
        frame = tables.answered_only(frame)
    screen = console()
    summary = tables.summarise(frame)
    markdown = [render.summary_markdown(summary)]
    for printed in render.summary_rich(summary):
        screen.print(printed)
    if reference is not None:
        method, _, variant = reference.partition(":")
        compared = tables.compare_to(frame, method.replace("-", "_"), variant or "default")
        markdown.append(render.comparison_markdown(compared, reference))
        for printed in render.comparison_rich(compared, reference):
            screen.print(printed)
    if out is not None:
        try:
            out.write_text("\n".join(markdown))
        except OSError as error:
            raise StoreError(f"{out} cannot be written: {error.strerror}") from error
