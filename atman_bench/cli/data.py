"""``atman-bench data``: check a dataset before a long run, and choose a part of Open Images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from atman_bench.datasets.openimages import OpenImagesConfig

Data = Annotated[Path, typer.Option("--data", help="A folder in the layout of Open Images V5 to V7.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="As in eval: datasets.openimages.per_class=50; may be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    data = typer.Typer(help="Check a dataset, or choose a part of Open Images.")
    data.command(epilog=_options.examples("atman-bench data select --data openimages --out chosen"))(select)
    data.command(epilog=_options.examples("atman-bench data check -d openimages --data openimages"))(check)
    app.add_typer(data, name="data")


def select(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies; both on one disk.")] = False,
    overrides: Overrides = None,
) -> None:
    """Copy the images and masks that eval would choose, in the same layout."""
    from atman_bench.datasets import _openimages_subset as subset

    selection = subset.select(_chosen(data, overrides), out, link=link)
    screen = console()
    screen.print(_table("class", selection.classes))
    if selection.skipped:
        screen.print(_table("skipped because", selection.skipped))
    screen.print(f"{sum(selection.classes.values())} samples of {len(selection.classes)} classes are in {out}")


def check(
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Name of a dataset.")] = "openimages",
    data: _options.Data = None,
    overrides: Overrides = None,
) -> None:
    """Read all that eval would use, decode every image and mask, and count what is wrong with them."""
    from atman_bench.core.errors import DataError
    from atman_bench.datasets import DATASETS
    from atman_bench.datasets import _check as checking
    from atman_bench.evaluation.config import load_config

    run = load_config(None, {"dataset": dataset, "data": data}, overrides or [])
    checked = checking.check(DATASETS.get(run.dataset).load(run.dataset_options))
    screen = console()
    if checked.problems:
        screen.print(_table("problem", checked.problems))
    screen.print(f"{checked.usable} samples are usable")
    if not checked.usable:
        raise DataError(f"no sample of {data or dataset} is usable; see the problems above")


def _chosen(data: Path, overrides: list[str] | None) -> "OpenImagesConfig":
    from atman_bench.evaluation.config import load_config

    return load_config(None, {"dataset": "openimages", "data": str(data)}, overrides or []).dataset_options


def _table(heading: str, counts: "Mapping[str, int]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(heading, "samples")
    table.columns[1].justify = "right"
    for name, count in counts.items():
        table.add_row(Text(name), str(count))
    return table
