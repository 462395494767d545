"""``atman-bench sweep``: a method at every point of a grid of its options.

The best point is chosen on one half of the groups and reported on the other.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs

if TYPE_CHECKING:
    from rich.console import Console

    from atman_bench.evaluation.runner import RunSummary
    from atman_bench.evaluation.sweep import Sweep


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep")(sweep)


@_options.flags(**_options.SAMPLES, **_options.SCORING, **_options.LOADING)
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
    dry_run: _options.DryRun = False,
    quiet: _options.Quiet = False,
) -> None:
    """Evaluate a method at every point of a grid, and choose the best point on samples that do not report it.

    Any option of any method can be swept. Points are stored as eval stores them and never computed twice.
    """
    from atman_bench.cli._console import console
    from atman_bench.evaluation import runner
    from atman_bench.evaluation.sweep import load_sweep

    chosen = load_sweep(config, flags, overrides or (), grid or ())
    screen = console(quiet=quiet)
    if dry_run:
        # A dry run's answer is printed with --quiet too.
        _runs.show_plan(console(), runner.plan(chosen.config))
        return
    with _runs.ProgressBar(screen) as progress:
        summary = runner.evaluate(chosen.config, progress, overwrite=overwrite)
    # What an interrupted sweep has stored need not hold one sample at every point.
    _runs.exit_if_interrupted(chosen.run.results, summary)
    _report(screen, chosen, summary, holdout=holdout)


def _report(console: "Console", sweep: "Sweep", summary: "RunSummary", *, holdout: bool) -> None:
    """Print the grid and the best point, and write them with the figures into the results folder."""
    from atman_bench.report import grid
    from atman_bench.report.figures import FIGURES

    frame = grid.frame_of_sweep(sweep, summary, holdout=holdout)
    several = len(sweep.axes) > 1
    console.print((grid.matrix_table(frame, "mAP") if several else grid.points_table(frame)).rich())
    stored = f"{summary.reused} explanations were stored, {summary.n_computed} are new"
    notes = _runs.notes(summary)
    for line in (*grid.describe(frame), f"{summary.usable} samples; {stored}.", *notes):
        console.print(line, markup=False, highlight=False)
    folder = sweep.run.results
    _runs.write_text(folder / "sweep.md", grid.markdown(frame, notes))
    for name in FIGURES.names:
        figure = FIGURES.get(name)
        # Figures of an evaluation would show all grid points as methods of their own.
        if grid.is_of_grid(figure.columns) and not figure.lacks(frame):
            figure.draw(frame, folder / "figures" / name)
    console.print(f"rows, sweep.md and figures are in {folder}", markup=False, highlight=False)
