"""``atman-bench sanity``: do methods do what any explanation has to?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.runner import Prepared
    from atman_bench.evaluation.sanity_records import SanityRow
    from atman_bench.report.figure_files import FigureFormat

FEW = 20
"""Samples where --limit does not say otherwise."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "sanity",
        epilog=_options.examples("atman-bench sanity tiny-text --methods atman,chefer,attnlrp -n 8 -r results/sanity"),
    )(sanity)


@_options.flags(
    **_options.SAMPLES,
    methods=_options.Methods,
    max_tokens=_options.MaxTokens,
    named=_options.Named,
    **{name: option for name, option in _options.LOADING.items() if name != "model"},
)
def sanity(
    flags: dict[str, Any],
    model: Annotated[str, typer.Argument(callback=_options.known_model, help="A folder, a hub id or NAME[:ARGUMENT].")],
    overrides: _options.Overrides = None,
    figure_format: _options.FigureFormats = None,
    quiet: _options.Quiet = False,
) -> None:
    """Check what any explanation has to do: randomised layers, another target, a fact said twice, an absent answer.

    Maps have to change with the model and the target, share the credit of what is said twice, be flat where the context
    does not give the answer, and AtMan's be zero at a factor of 1. The model's weights are put back, also after errors;
    its files are never touched. 20 samples, unless --limit says otherwise.
    """
    from atman_bench.evaluation.config import load_config
    from atman_bench.evaluation.runner import begin
    from atman_bench.evaluation.sanity import run_checks

    formats = _options.figure_formats(figure_format)
    config = load_config(None, {"limit": FEW, **flags, "model": model}, overrides or ())
    screen = console(quiet=quiet)
    with _runs.resumable(config.results):
        with _runs.ProgressBar(screen) as progress:
            run = begin(config)
            rows = run_checks(run, config, progress)
        _report(screen, config, run, rows, formats)


def _report(
    screen: "Console", config: "RunConfig", run: "Prepared", rows: "list[SanityRow]", formats: "Sequence[FigureFormat]"
) -> None:
    """Print the table, and write it with verdicts and figure into the results folder."""
    from atman_bench.core.records import Status
    from atman_bench.evaluation.scoring import dataset_name
    from atman_bench.report.figures import FIGURES
    from atman_bench.report.machine import as_json
    from atman_bench.report.sanity import frame_of_checks, markdown, sanity_table

    identity = run.cells[0].identity
    frame = frame_of_checks(rows, dataset_name(identity), identity.model)
    screen.print(sanity_table(frame, intervals=False).rich())
    failed = dict.fromkeys(row.error for row in rows if row.status not in (Status.OK, Status.SKIPPED) and row.error)
    notes = [f"Failed: {error}." for error in failed]
    for note in notes:
        screen.print(note)
    write_atomically(config.results / "sanity.md", markdown(frame, notes))
    write_atomically(config.results / "sanity.json", as_json(frame, dict.fromkeys(frame["metric"], 1)))
    figure = FIGURES.get("sanity")
    if not figure.lacks(frame):
        figure.draw(frame, config.results / "figures" / "sanity", formats)
    screen.print(f"sanity.md, with a verdict on each check, sanity.json and the figure are in {config.results}")
