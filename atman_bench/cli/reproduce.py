"""``atman-bench reproduce``: the paper's tables and figures, from what is stored and what is missing."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console, echo
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from atman_bench.paper.experiments._base import Preset
    from atman_bench.paper.kinds._base import Plan
    from atman_bench.report.page import Section, Stored


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "reproduce",
        epilog=_options.examples(
            "atman-bench reproduce --preset tiny",
            "atman-bench reproduce table1a fig11 --preset paper --dry-run",
        ),
    )(reproduce)


@_options.flags(**_options.WORKERS)
def reproduce(
    flags: dict[str, Any],
    experiments: Annotated[
        list[str] | None, typer.Argument(help="table1a, fig11 and so on, or all (the default).", metavar="[NAME]...")
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", help="tiny (embedded, offline), small (real, on a CPU) or paper.")
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
    quiet: _options.Quiet = False,
) -> None:
    """Regenerate tables and figures of the paper, and say which of its claims hold.

    Runs what is missing, then draws. Workers explain samples and answer questions; single texts, documents and costs
    are run here. report.html in the results folder shows everything.
    """
    from atman_bench.paper import reproduce as reproduction
    from atman_bench.paper.kinds._base import Request
    from atman_bench.report import page

    crew = _runs.workers_asked(flags)
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
        with console(quiet=quiet, stderr=True).status("checking data, counting passes"):
            plans = reproduction.plans(names, request)
        _show_plans(console(), plans)
        return
    screen = console(quiet=quiet)
    with _runs.resumable(request.results):
        with (
            _runs.workers(crew, screen, device) as driver,
            _runs.ProgressBar(screen) as progress,
        ):
            for section in reproduction.reproduce(names, replace(request, driver=driver), progress, formats):
                _show(screen, section)
        stored = page.read(request.results)
        _show_verdicts(screen, page.prepared(stored), names)
        write_atomically(request.results / "report.html", page.html_page(stored))
        write_atomically(request.results / "report.md", page.markdown_page(stored, request.results))
    screen.print(f"report.html and report.md are in {request.results}")


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
    """Print what would run, and what it needs: a block of lines for each experiment."""
    from rich.padding import Padding
    from rich.text import Text

    from atman_bench.paper.experiments import EXPERIMENTS
    from atman_bench.paper.kinds._planning import DEVICE

    for plan in plans:
        about = EXPERIMENTS.get(plan.name)
        console.print(Text.assemble((plan.name, "bold cyan"), f"  {about.title} ({about.paper})"))
        console.print(Padding(_lines_of(plan), (0, 0, 0, 2)))
        for part in plan.parts:
            console.print(Text(f"  {part.name}", "cyan"))
            console.print(Padding(_lines_of(part), (0, 0, 0, 4)))
        console.print()
    if any(plan.device_hours is not None for plan in plans):
        low, high = map(sum, zip(*(plan.device_hours for plan in plans if plan.device_hours), strict=True))
        echo(
            f"all together {low:,.1f} to {high:,.1f} hours on one {DEVICE} at its peak rate, for samples of typical "
            "length: what prefix reuse leaves at best, to every forward pass over the whole sequence at most; "
            "measurements of costs and single texts are not counted"
        )


def _lines_of(plan: "Plan") -> "Table":
    """A plan as lines of a label and words, which fold beside their label."""
    from rich.table import Table
    from rich.text import Text

    from atman_bench.paper.kinds._planning import DEVICE

    lines = [("run", plan.what), *plan.details]
    if plan.passes is not None:
        lines.append(("passes", f"{plan.passes:,.0f} forward passes over whole samples, backward ones included"))
    if plan.device_hours is not None:
        low, high = plan.device_hours
        lines.append(("hours", f"{low:,.1f} to {high:,.1f} on one {DEVICE}"))
    if plan.weights_bytes is not None:
        lines.append(("memory", f"{plan.weights_bytes / 1e9:.1f} GB of weights"))
    lines += [("needs", need) for need in plan.needs]
    lines += [("unknown", unknown) for unknown in plan.unknown]
    table = Table.grid(padding=(0, 2))
    table.add_column(width=8, no_wrap=True)
    table.add_column(overflow="fold")
    for label, words in lines:
        table.add_row(Text(label), Text(words))
    return table
