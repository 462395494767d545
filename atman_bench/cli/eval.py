"""``atman-bench eval``: run methods on a dataset and print how well they point at the evidence."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.runner import RunSummary
    from atman_bench.report.figure_files import FigureFormat


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "eval",
        epilog=_options.examples(
            "atman-bench eval --limit 40",
            "atman-bench eval -m FOLDER -d squad --methods atman,attnlrp --set f=0.5 --limit 24 -r results/squad",
            "atman-bench eval --include my_method.py --methods my_method,atman --limit 20",
            "atman-bench eval -c small --dry-run",
        ),
    )(evaluate)


@_options.flags(
    **_options.SAMPLES,
    methods=_options.Methods,
    baselines=_options.Baselines,
    metrics=_options.Metrics,
    units=_options.Units,
    **_options.SCORING,
    **_options.LOADING,
    **_options.WORKERS,
    **_options.SPLITTING,
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
    figure_format: _options.FigureFormats = None,
    dry_run: _options.DryRun = False,
    quiet: _options.Quiet = False,
) -> None:
    """Run methods on a dataset: how well does each point at the evidence, and what does it cost?

    Finished samples are stored as they finish and never computed twice: the same command goes on where it was stopped.
    """
    from atman_bench.evaluation import runner
    from atman_bench.evaluation.config import load_config

    formats = _options.figure_formats(figure_format)
    screen = console(quiet=quiet)
    crew = _runs.workers_asked(flags)
    run = load_config(config, {"baselines": True, **flags}, overrides or ())
    if dry_run:
        from atman_bench.evaluation.dry_run import plan

        # A dry run's answer is printed with --quiet too.
        with console(quiet=quiet, stderr=True).status("reading data and model, counting passes"):
            found = plan(run)
        _runs.show_plan(console(), found)
        return
    with _runs.resumable(run.results):
        with (
            _runs.workers(crew, screen, run.device) as driver,
            _runs.ProgressBar(screen) as progress,
        ):
            split = crew is not None and crew.split_perturbations
            summary = runner.evaluate(run, progress, overwrite=overwrite, driver=driver, split=split)
        # Ctrl-C before the first explanation leaves nothing to make a table of.
        if summary.n_computed + summary.reused or not summary.interrupted:
            _report(screen, run, summary, formats)
    _runs.exit_if_interrupted(run.results, summary)


def _report(console: "Console", run: "RunConfig", summary: "RunSummary", formats: "Sequence[FigureFormat]") -> None:
    """Print the table and write it, with the figures, into the results folder."""
    from atman_bench.evaluation.runner import rows_of_run
    from atman_bench.report.figures import draw_all
    from atman_bench.report.machine import as_json
    from atman_bench.report.render import summary_markdown, summary_rich
    from atman_bench.report.tables import frame_of, summarise

    frame = frame_of(rows_of_run(run, summary))
    table = summarise(frame)
    for printed in summary_rich(table):
        console.print(printed)
    stored = f"{summary.reused} explanations were stored, {summary.n_computed} are new"
    notes = _runs.notes(summary)
    for line in (f"{len(summary.uids)} samples; {stored}.", *notes):
        console.print(line)
    write_atomically(run.results / "table.md", "\n\n".join([summary_markdown(table).rstrip(), *notes]) + "\n")
    write_atomically(run.results / "results.json", as_json(frame))
    draw_all(frame, run.results / "figures", formats)
    console.print(f"rows, table.md, results.json and figures are in {run.results}")
