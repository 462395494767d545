"""``atman-bench reproduce``: the paper's tables and figures, from what is stored and what is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atman_bench.cli import _options, _runs
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from atman_bench.paper.experiments._base import Preset
    from atman_bench.paper.kinds._base import Plan
    from atman_bench.report.page import Section, Stored


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce")(reproduce)


def reproduce(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="table1a, fig11 and so on, or all (the default).", metavar="[NAME]...")
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="tiny (embedded, offline), small (real, on a CPU) or paper.")
    ] = "tiny",
    results: Annotated[
        Path | None, typer.Option("--results", "-r", help="Results folder; default: results/reproduce-PRESET.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="DATASET=PATH", help="Where a dataset is; may be repeated."),
    ] = None,
    text_model: Annotated[
        str | None, typer.Option("--text-model", help="Instead of the preset's model of texts.")
    ] = None,
    image_model: Annotated[
        str | None, typer.Option("--image-model", help="Instead of the preset's model of images.")
    ] = None,
    device: _options.Device = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say what would run; loads no weights.")
    ] = False,
    figure_format: _options.FigureFormats = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")] = False,
) -> None:
    """Regenerate tables and figures of the paper, and say which of its claims hold.

    Runs what is missing, then draws. report.html in the results folder shows everything.
    """
    from atman_bench.cli._console import console
    from atman_bench.paper import reproduce as reproduction
    from atman_bench.paper.kinds._base import Request
    from atman_bench.report import page

    request = Request(
        preset=_preset(preset),
        results=results or Path("results") / f"reproduce-{preset}",
        data=_data(data or ()),
        text_model=text_model,
        image_model=image_model,
        device=device,
    )
    formats = _options.figure_formats(figure_format)
    names = reproduction.chosen(experiments or ())
    if dry_run:
        _show_plans(console(), [reproduction.plan(name, request) for name in names])
        return
    screen = console(quiet=quiet)
    try:
        with _runs.ProgressBar(screen) as progress:
            for section in reproduction.reproduce(names, request, progress, formats):
                _show(screen, section)
    except KeyboardInterrupt:
        typer.echo("stopped: the same command goes on from here", err=True)
        raise typer.Exit(_runs.INTERRUPTED) from None
    stored = page.read(request.results)
    _show_verdicts(screen, page.prepared(stored), names)
    write_atomically(request.results / "report.html", page.html_page(stored))
    write_atomically(request.results / "report.md", page.markdown_page(stored, request.results))
    screen.print(f"report.html and report.md are in {request.results}", markup=False, highlight=False)


def _preset(name: str) -> "Preset":
    from atman_bench.core.errors import UnknownNameError
    from atman_bench.paper.experiments._base import Preset

    try:
        return Preset(name)
    except ValueError:
        raise UnknownNameError("preset", name, [preset.value for preset in Preset]) from None


def _data(given: "Sequence[str]") -> dict[str, str]:
    """``["squad=FILE"]`` -> ``{"squad": "FILE"}``.

    Raises:
        ConfigError: One is no such pair.
        UnknownNameError: No such dataset.
    """
    from atman_bench.core.errors import ConfigError, UnknownNameError
    from atman_bench.datasets import DATASETS

    pairs = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"--data takes DATASET=PATH (squad=dev-v1.1.json), received {text!r}")
        if name not in DATASETS.names:
            raise UnknownNameError(DATASETS.kind, name, DATASETS.names)
        pairs[name] = path
    return pairs


def _show(console: "Console", section: "Section") -> None:
    """Print that an experiment was run, or why it was not."""
    from rich.text import Text

    console.print(Text.assemble((section.name, "bold cyan"), f"  {section.title}"))
    if section.missing:
        console.print(Text(f"  not run: {section.missing}", "yellow"))


def _show_verdicts(console: "Console", sections: "Sequence[Stored]", names: "Sequence[str]") -> None:
    """Print the verdicts of some experiments, which are corrected for the number of claims in the whole folder."""
    from rich.text import Text

    from atman_bench.report import page

    for stored in sections:
        if stored.section.name in names and not stored.section.missing:
            for verdict in stored.section.verdicts:
                console.print(Text(f"{stored.section.name}: {verdict.mark} {verdict.head} {verdict.details}"))
    console.print(Text(page.summary(sections)))


def _show_plans(console: "Console", plans: "Sequence[Plan]") -> None:
    """Print what would run, and what it needs."""
    from dataclasses import replace

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from atman_bench.paper.kinds._planning import DEVICE

    table = Table("experiment", "what", title="What would run", box=box.SIMPLE_HEAD)
    for column in ("cells", "weights", f"hours on {DEVICE}"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("needs")
    lines = [line for plan in plans for line in (plan, *(replace(part, name=f"  {part.name}") for part in plan.parts))]
    for plan in lines:
        table.add_row(
            Text(plan.name),
            Text(plan.what),
            f"{plan.cells or ''}",
            "" if plan.weights_bytes is None else f"{plan.weights_bytes / 1e9:.1f} GB",
            "" if plan.device_hours is None else "{:,.1f} to {:,.1f}".format(*plan.device_hours),
            Text("\n".join(plan.needs)),
        )
    console.print(table)
    if any(plan.device_hours is not None for plan in plans):
        typer.echo(
            f"hours on one {DEVICE} at its peak rate, for samples of typical length: what prefix reuse leaves at best, "
            "to every forward pass over the whole sequence at most"
        )
