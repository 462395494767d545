"""``atman-bench results``: what a results folder weighs."""

from pathlib import Path
from typing import Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo


def register(app: typer.Typer) -> None:
    """Add the commands."""
    results = typer.Typer(help="Look after a results folder.")
    results.command("compact", epilog=_options.examples("atman-bench results compact results/squad"))(compact)
    app.add_typer(results, name="results")


def compact(
    folder: Annotated[Path, typer.Argument(help="A results folder of atman-bench eval, sweep or reproduce.")],
    without_maps: Annotated[
        str | None,
        typer.Option(
            "--without-maps",
            metavar="METHODS",
            help="METHOD or METHOD:VARIANT, by commas, or all: keep the rows of these and drop their maps.",
        ),
    ] = None,
) -> None:
    """Turn the JSON lines of finished cells into Parquet files, which weigh a tenth and are read at once.

    Every command reads both. Cells that a running command writes to are left as they are; if this is killed nothing is
    lost, and the same command goes on.
    """
    from atman_bench.evaluation import compaction
    from atman_bench.report import page

    named = [] if without_maps is None else _options.names("--without-maps", without_maps)
    done = compaction.compact(folder, None if named == ["all"] else named)
    echo(
        f"{done.cells} cells, {done.maps:,} maps and {done.rows:,} rows: "
        f"{done.bytes_before / 1e6:,.1f} MB -> {done.bytes_after / 1e6:,.1f} MB"
    )
    if sections := page.gather(folder):
        echo(f"{sections} sections of the report are in one file")
    for cell in done.in_use:
        echo(f"left as it is, since a running command writes to it: {cell}")
