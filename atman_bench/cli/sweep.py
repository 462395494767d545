"""``atman-bench sweep``: a method at every point of a grid of its options.

The best point is chosen on one half of the groups and reported on the other.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from atman_bench.evaluation.runner import RunSummary
    from atman_bench.evaluation.sweep import Sweep
    from atman_bench.report.figure_files import FigureFormat


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "sweep",
        epilog=_options.examples(
            "atman-bench sweep --grid methods.atman.f=[0.5,0.9,1.0] --limit 40",
            "atman-bench sweep -c sweep-kappa-f --dry-run",
        ),
    )(sweep)


@_options.flags(**_options.SAMPLES, **_options.SCORING, **_options.LOADING, **_options.WORKERS)
def sweep(
    flags: dict[str, Any],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="NAME=[VALUES]",
            help="An axis, such as methods.atman.kappa=[null,0.7]; may be repeated. "
            "methods.atman={NAME: {OPTION: VALUE}, ...} varies several options at once.",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="YAML file, or a preset: sweep-kappa-f (Fig. 11), sweep-forms, sweep-layers, sweep-similarity.",
        ),
    ] = None,
    overrides: _options.Overrides = None,
    holdout: Annotated[
        bool,
        typer.Option(
            "--holdout/--no-holdout", help="Choose the best point on half of the groups, report it on the other half."
        ),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove stored results of this sweep's cells first.")
    ] = False,
    figure_format: _options.FigureFormats = None,
    dry_run: _options.DryRun = False,
    quiet: _options.Quiet = False,
) -> None:
    """Evaluate a method at every point of a grid, and choose the best point on samples that do not report it.

    Any option of any method can be swept. Points are stored as eval stores them and never computed twice.
    """
    from atman_bench.evaluation import runner
    from atman_bench.evaluation.sweep import load_sweep

    formats = _options.figure_formats(figure_format)
    screen = console(quiet=quiet)
    crew = _runs.workers_asked(flags)
    chosen = load_sweep(config, flags, overrides or (), grid or ())
    if dry_run:
        from atman_bench.evaluation.dry_run import plan

        # A dry run's answer is printed with --quiet too.
        with console(quiet=quiet, stderr=True).status("reading data and model, counting passes"):
            found = plan(chosen.config)
        _runs.show_plan(console(), found)
        return
    with _runs.resumable(chosen.run.results):
        with (
            _runs.workers(crew, screen, chosen.run.device) as driver,
            _runs.ProgressBar(screen) as progress,
        ):
            summary = runner.evaluate(chosen.config, progress, overwrite=overwrite, driver=driver)
        # What an interrupted sweep has stored need not hold one sample at every point.
        _runs.exit_if_interrupted(chosen.run.results, summary)
        _report(screen, chosen, summary, formats, holdout=holdout)


def _report(
    console: "Console", sweep: "Sweep", summary: "RunSummary", formats: "Sequence[FigureFormat]", *, holdout: bool
) -> None:
    """Print the grid and the best point, and write them with the figures into the results folder."""
    from atman_bench.evaluation.runner import rows_of_run
    from atman_bench.report import grid
    from atman_bench.report.figures import draw_all

    frame = grid.frame_of_sweep(sweep, rows_of_run(sweep.config, summary), holdout=holdout)
    several = len(sweep.axes) > 1
    console.print((grid.matrix_table(frame, "mAP") if several else grid.points_table(frame)).rich())
    stored = f"{summary.reused} explanations were stored, {summary.n_computed} are new"
    notes = _runs.notes(summary)
    for line in (*grid.describe(frame), f"{len(summary.uids)} samples; {stored}.", *notes):
        console.print(line)
    folder = sweep.run.results
    write_atomically(folder / "sweep.md", grid.markdown(frame, notes))
    draw_all(frame, folder / "figures", formats)
    console.print(f"rows, sweep.md and figures are in {folder}")
