"""``atman-bench eval``: run methods on a dataset and print how well they point at the evidence."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs

if TYPE_CHECKING:
    from rich.console import Console

    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.runner import RunSummary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


@_options.flags(
    **_options.SAMPLES,
    methods=_options.Methods,
    metrics=_options.Metrics,
    **_options.SCORING,
    **_options.LOADING,
)
def evaluate(
    flags: dict[str, Any],
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="YAML file, or a preset of configs/ (tiny, small, paper).")
    ] = None,
    overrides: _options.Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove stored results of this run's cells first.")
    ] = False,
    dry_run: _options.DryRun = False,
    quiet: _options.Quiet = False,
) -> None:
    """Run methods on a dataset: how well does each point at the evidence, and what does it cost?

    Finished samples are stored as they finish and never computed twice: the same command goes on where it was stopped.
    """
    from atman_bench.cli._console import console
    from atman_bench.evaluation import runner
    from atman_bench.evaluation.config import load_config

    run = load_config(config, flags, overrides or ())
    screen = console(quiet=quiet)
    if dry_run:
        # A dry run's answer is printed with --quiet too.
        _runs.show_plan(console(), runner.plan(run))
        return
    with _runs.ProgressBar(screen) as progress:
        summary = runner.evaluate(run, progress, overwrite=overwrite)
    _report(screen, run, summary)
    _runs.exit_if_interrupted(run.results, summary)


def _report(console: "Console", run: "RunConfig", summary: "RunSummary") -> None:
    """Print the table and write it, with the figures, into the results folder."""
    from atman_bench.evaluation.runner import experiment_rows
    from atman_bench.report.figures import FIGURES
    from atman_bench.report.render import summary_markdown, summary_rich
    from atman_bench.report.tables import frame_of, summarise

    rows = experiment_rows(run, summary)
    if not rows:
        return
    frame = frame_of(rows)
    table = summarise(frame)
    for printed in summary_rich(table):
        console.print(printed)
    stored = f"{summary.reused} explanations were stored, {summary.n_computed} are new"
    notes = _runs.notes(summary)
    for line in (f"{summary.usable} samples; {stored}.", *notes):
        console.print(line, markup=False, highlight=False)
    _runs.write_text(run.results / "table.md", "\n\n".join([summary_markdown(table).rstrip(), *notes]) + "\n")
    for name in FIGURES.names:
        figure = FIGURES.get(name)
        # A figure about something that this dataset does not have is no failure.
        if not figure.lacks(frame):
            figure.draw(frame, run.results / "figures" / name)
    console.print(f"rows, table.md and figures are in {run.results}", markup=False, highlight=False)
