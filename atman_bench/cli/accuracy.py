"""``atman-bench accuracy``: how many questions of a dataset does a model answer?"""

from typing import Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console, echo
from atman_bench.core.files import write_atomically


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "accuracy",
        epilog=_options.examples(
            "atman-bench accuracy --limit 50",
            "atman-bench accuracy -d vqav2 --data FOLDER -m Salesforce/blip-vqa-base --shots 0",
        ),
    )(accuracy)


@_options.flags(**_options.SAMPLES, **_options.LOADING, **_options.WORKERS)
def accuracy(
    flags: dict[str, Any],
    shots: Annotated[int, typer.Option("--shots", help="Solved examples before each question.")] = 0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Longest answer.")] = 16,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the dataset: datasets.vqav2.template='{question}'."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove stored answers of this run first.")] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Let a model answer questions greedily, and score its answers beside the paper's models (Table 4).

    Answers are stored as they come: the same command goes on where it was stopped.
    """
    from atman_bench.evaluation.accuracy import ask_all, load_accuracy_config
    from atman_bench.evaluation.answer_store import answer_cells
    from atman_bench.report.accuracy import accuracy_table

    screen = console(quiet=quiet)
    crew = _runs.workers_asked(flags)
    config = load_accuracy_config(flags, overrides or (), shots, max_new_tokens)
    with (
        _runs.resumable(config.run.results),
        _runs.workers(crew, screen, config.run.device) as driver,
        _runs.ProgressBar(screen) as progress,
    ):
        summary = ask_all(config, progress, overwrite=overwrite, driver=driver)
    if summary.interrupted:
        # Before the table, so that it is said whatever interrupts that.
        echo(f"stopped: {summary.remaining} questions remain; the same command goes on from here", err=True)
    screen.print(accuracy_table([summary.cell]).rich())
    lines = [f"{summary.reused} answers were stored, {sum(summary.computed.values())} are new."]
    if summary.skipped:
        lines.append("Skipped: " + "; ".join(f"{count} × {reason}" for reason, count in summary.skipped.items()) + ".")
    if summary.first_error:
        lines.append(f"First error: {summary.first_error}")
    table = config.run.results / "accuracy.md"
    write_atomically(table, accuracy_table(answer_cells(config.run.results)).markdown())
    for line in (*lines, f"answers are in {summary.cell.folder}, the table of all runs is {table}"):
        screen.print(line)
    if summary.interrupted:
        raise typer.Exit(_runs.INTERRUPTED)
