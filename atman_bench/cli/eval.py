"""``atman-bench eval``: run methods on a dataset and print how well they point at the evidence."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atman_bench.cli import _options

if TYPE_CHECKING:
    from rich.console import Console

    from atman_bench.config import RunConfig
    from atman_bench.runner import Plan, RunSummary

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Name of a dataset; default: facts.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Path or hub id that the dataset reads.")] = None,
    model: _options.Model = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="METHOD or METHOD:VARIANT, by commas; default: all for text."),
    ] = None,
    results: _options.Results = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="How many samples; default: all.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Skip and count longer samples (prompt and target).")
    ] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Metrics, by commas; default: all.")] = None,
    sign: Annotated[
        str | None, typer.Option("--sign", help="How signed scores become a map; default: positive.")
    ] = None,
    seed: _options.Seed = None,
    dtype: _options.Dtype = None,
    device: _options.Device = None,
    trust_checkpoint: _options.TrustCheckpoint = None,
    trust_remote_code: _options.TrustRemoteCode = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="YAML file, or a preset of configs/ (tiny, small, paper).")
    ] = None,
    overrides: _options.Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove stored results of this run's cells first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, how long it takes and how much memory.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")] = False,
) -> None:
    """Run methods on a dataset: how well does each point at the evidence, and what does it cost?

    Finished samples are stored as they finish and never computed twice: the same command goes on where it was stopped.
    """
    from atman_bench import runner
    from atman_bench.cli._console import console
    from atman_bench.config import load_config

    flags = {
        "dataset": dataset,
        "data": data,
        "model": model,
        "methods": _names(methods),
        "results": results,
        "limit": limit,
        "max_tokens": max_tokens,
        "metrics": _names(metrics),
        "sign": sign,
        "seed": seed,
        "dtype": dtype,
        "device": device,
        "trust_checkpoint": trust_checkpoint,
        "trust_remote_code": trust_remote_code,
    }
    run = load_config(config, flags, overrides or ())
    screen = console(quiet=quiet)
    if dry_run:
        # Being told is the point of a dry run, so --quiet does not apply.
        _show_plan(console(), runner.plan(run))
        return
    with _Progress(screen) as progress:
        summary = runner.evaluate(run, progress, overwrite=overwrite)
    _report(screen, run, summary)
    if summary.interrupted:
        typer.echo(
            f"stopped: {summary.n_computed + summary.reused} explanations are stored in {run.results}, "
            f"{summary.remaining} remain; the same command goes on from here",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)


class _Progress:
    """A progress bar that a runner can call; on a terminal only, and gone when it is done."""

    def __init__(self, console: "Console"):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("loading", total=None)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, doing: str) -> None:
        self._bar.update(self._task, completed=done, total=total, description=doing)


def _names(listed: str | None) -> list[str] | None:
    """``"a, b"`` -> ``["a", "b"]``."""
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def _report(console: "Console", run: "RunConfig", summary: "RunSummary") -> None:
    """Print the table and write it, with the figures, into the results folder."""
    from atman_bench.report.figures import FIGURES
    from atman_bench.report.render import summary_markdown, summary_rich
    from atman_bench.report.tables import frame_of, summarise
    from atman_bench.runner import experiment_rows

    rows = experiment_rows(run, summary)
    if not rows:
        return
    frame = frame_of(rows)
    table = summarise(frame)
    for printed in summary_rich(table):
        console.print(printed)
    stored = f"{summary.reused} explanations were stored, {summary.n_computed} are new"
    notes = _notes(summary)
    for line in (f"{summary.usable} samples; {stored}.", *notes):
        console.print(line, markup=False, highlight=False)
    _write(run.results / "table.md", "\n\n".join([summary_markdown(table).rstrip(), *notes]) + "\n")
    for name in FIGURES.names:
        figure = FIGURES.get(name)
        # A figure about something that this dataset does not have is no failure.
        if not figure.lacks(frame):
            figure.draw(frame, run.results / "figures" / name)
    console.print(f"rows, table.md and figures are in {run.results}", markup=False, highlight=False)


def _notes(summary: "RunSummary") -> list[str]:
    """What the table does not say: samples that no method saw, and why an explanation failed."""
    notes = []
    if summary.skipped:
        notes.append("Skipped: " + "; ".join(f"{count} × {reason}" for reason, count in summary.skipped.items()) + ".")
    if summary.first_error:
        notes.append(f"First error: {summary.first_error}")
    return notes


def _write(path: Path, text: str) -> None:
    from atman_bench.errors import StoreError

    try:
        path.write_text(text)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _show_plan(console: "Console", plan: "Plan") -> None:
    from rich import box
    from rich.table import Table

    table = Table("method", "variant", title="What would run", box=box.SIMPLE_HEAD)
    for column in ("stored", "to explain", "forward passes"):
        table.add_column(column, justify="right")
    for cell in plan.cells:
        counts = (cell.stored, cell.missing, round(cell.forwards))
        table.add_row(cell.method, cell.variant, *(f"{count:,}" for count in counts))
    console.print(table)
    minutes, seconds = divmod(round(plan.seconds), 60)
    passes = sum(cell.forwards for cell in plan.cells)
    typer.echo(f"{passes:,.0f} forward passes at most, about {minutes} min {seconds} s here")
    typer.echo(f"peak memory about {plan.peak_bytes / 2**20:,.0f} MiB")
    for reason, count in plan.skipped.items():
        typer.echo(f"skipped: {count} × {reason}")
