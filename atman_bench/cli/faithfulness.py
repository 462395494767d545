"""``atman-bench faithfulness``: do maps say what the model does where units are taken away?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console, echo
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from atman_bench.evaluation.config import RunConfig
    from atman_bench.evaluation.faithfulness_plan import PlannedSubsets
    from atman_bench.evaluation.faithfulness_records import Faithfulness
    from atman_bench.evaluation.runner import Run, RunSummary
    from atman_bench.report.figure_files import FigureFormat


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "faithfulness",
        epilog=_options.examples(
            "atman-bench faithfulness --limit 10 --methods atman,chefer,occlusion",
            "atman-bench faithfulness -m FOLDER -d squad --data dev-v1.1.json --limit 24 -r results/squad",
        ),
    )(faithfulness)


@_options.flags(
    **_options.SAMPLES, methods=_options.Methods, **_options.SCORING, **_options.LOADING, **_options.WORKERS
)
def faithfulness(
    flags: dict[str, Any],
    config: Annotated[str | None, typer.Option("--config", "-c", help="YAML file, or a preset of configs/.")] = None,
    measures: Annotated[
        str | None,
        typer.Option(
            "--measures",
            callback=_options.split,
            help="Measures, by commas; default: all but normalised_aopc (up to 64 units), soft_nc and soft_ns.",
        ),
    ] = None,
    overrides: _options.Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove what was measured of this run's samples first; maps stay.")
    ] = False,
    figure_format: _options.FigureFormats = None,
    dry_run: _options.DryRun = False,
    quiet: _options.Quiet = False,
) -> None:
    """Score maps by what the model does where units are taken away: LDS, deletion, insertion and more.

    Both interventions stand side by side, attention (AtMan's edit) and embedding (replaced by zeros), with how much
    each favours methods that perturb alike. Maps that eval stored are scored, others computed first; everything is
    stored as it finishes, and the same command goes on where it was stopped.
    """
    from atman_bench.evaluation.config import load_config
    from atman_bench.evaluation.faithfulness import evaluate_faithfulness
    from atman_bench.evaluation.faithfulness_rows import chosen_measures
    from atman_bench.evaluation.runner import begin, complete

    formats = _options.figure_formats(figure_format)
    chosen = chosen_measures(measures or ())  # the option's callback has split them
    crew = _runs.workers_asked(flags)
    run_config = load_config(config, flags, overrides or ())
    if dry_run:
        from atman_bench.evaluation.faithfulness_plan import plan

        # A dry run's answer is printed with --quiet too.
        with console(quiet=quiet, stderr=True).status("reading data, model and maps, counting passes"):
            of_maps, of_subsets = plan(run_config, chosen)
        _runs.show_plan(console(), of_maps)
        _show_subsets(console(), of_subsets)
        return
    screen = console(quiet=quiet)
    with _runs.resumable(run_config.results):
        with (
            _runs.workers(crew, screen, run_config.device) as driver,
            _runs.ProgressBar(screen) as progress,
        ):
            run = begin(run_config, driver=driver)
            summary = complete(run, run_config, progress)
            _runs.exit_if_interrupted(run_config.results, summary)
            found = evaluate_faithfulness(run, run_config, progress, measures=chosen, overwrite=overwrite)
        _report(screen, run_config, run, summary, found, formats)


def _show_subsets(screen: "Console", plans: "Sequence[PlannedSubsets]") -> None:
    """Print what a dry run found beside the maps."""
    from rich import box
    from rich.table import Table

    table = Table("units taken away by", title="Subsets that would run", box=box.SIMPLE_HEAD)
    for column in ("samples", "stored", "forward passes", "time here"):
        table.add_column(column, justify="right")
    for planned in plans:
        counts = (planned.samples, planned.stored, planned.forwards)
        table.add_row(
            planned.intervention.value, *(f"{count:,}" for count in counts), f"≤ {_runs.duration(planned.seconds)}"
        )
    screen.print(table)
    if any(planned.to_come for planned in plans):
        echo("maps that are still to be computed are counted as if they shared no subset but the bank")


def _report(
    screen: "Console",
    config: "RunConfig",
    run: "Run",
    summary: "RunSummary",
    found: "Faithfulness",
    formats: "Sequence[FigureFormat]",
) -> None:
    """Print the main table, and write all of them with the figure into the results folder."""
    from atman_bench.evaluation.scoring import dataset_name
    from atman_bench.report.faithfulness import columns_of, faithfulness_tables, frame_of_faithfulness, terminal_table
    from atman_bench.report.figures import FIGURES
    from atman_bench.report.machine import as_csv, as_json
    from atman_bench.report.means import scales_of

    identity = run.cells[0].identity
    frame = frame_of_faithfulness(found, dataset_name(identity), identity.model)
    scales = scales_of(columns_of(frame))
    screen.print(terminal_table(frame))
    tables = faithfulness_tables(frame, found.spent)
    for table in tables[1:-1]:  # what measuring takes is too wide for a terminal
        screen.print(table.rich())
    errors = dict.fromkeys(row.error for row in found.rows if row.error)
    notes = [*_runs.notes(summary), *(f"No numbers: {error}." for error in errors)]
    for line in notes:
        screen.print(line)
    folder = config.results
    text = "\n".join(table.markdown() for table in tables)
    write_atomically(folder / "faithfulness.md", "\n\n".join([text.rstrip(), *notes]) + "\n")
    write_atomically(folder / "faithfulness.json", as_json(frame, scales))
    write_atomically(folder / "faithfulness.csv", as_csv(frame, scales))
    figure = FIGURES.get("faithfulness")
    if not figure.lacks(frame):
        figure.draw(frame, folder / "figures" / "faithfulness", formats)
    screen.print(f"faithfulness.md, .json and .csv are in {folder}")
