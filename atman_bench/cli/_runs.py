"""What the commands that run evaluations share: progress, what a table does not say, a dry run's answer, Ctrl-C."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo

if TYPE_CHECKING:
    from rich.console import Console

    from atman_bench.evaluation.driver.config import WorkersConfig
    from atman_bench.evaluation.driver.loop import Driver
    from atman_bench.evaluation.dry_run import Plan
    from atman_bench.evaluation.runner import RunSummary

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


SECONDS_BETWEEN_LINES = 30.0
"""A log without a terminal gets a line of progress as often."""


class ProgressBar:
    """A progress bar that a runner can call, gone when it is done; without a terminal a line on stderr now and then."""

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
            TextColumn("{task.description}", markup=False),
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
        self._lines = not console.is_terminal and not console.quiet
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, doing: str) -> None:
        self._bar.update(self._task, completed=done, total=total, description=doing)
        now = time.monotonic()
        if not done:
            self._begun = now
        if self._lines and now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            left = f", about {duration((now - self._begun) / done * (total - done))} left" if done else ""
            echo(f"{done} of {total}{left}: {doing}", err=True)


def workers_asked(flags: dict[str, Any]) -> "WorkersConfig | None":
    """What flags say about workers, which is taken out of them; None for a run in this process.

    Raises:
        ConfigError: There are to be no workers for these options, or one has an impossible value.
    """
    asked = {name: flags.pop(name) for name in (*_options.WORKERS, *_options.SPLITTING) if name in flags}
    if not asked:
        return None
    from atman_bench.evaluation.driver.config import WorkersConfig

    return WorkersConfig(**asked)


@contextmanager
def workers(asked: "WorkersConfig | None", screen: "Console", device: str | None) -> "Iterator[Driver | None]":
    """The driver of a run, None for one in this process. At the end its workers end, and it is said who did what.

    Raises:
        ConfigError: Ray is not installed, or there are too few devices.
        WorkerError: There is no Ray cluster at the address.
    """
    if asked is None:
        yield None
        return
    from atman_bench.evaluation.driver.config import driver_of
    from atman_bench.evaluation.driver.report import who_did_what

    driver = driver_of(asked, device)
    try:
        yield driver
    finally:
        driver.close()
        for line in who_did_what(driver.members):
            screen.print(line)


def notes(summary: "RunSummary") -> list[str]:
    """What the table does not say: samples that no method saw, and why an explanation failed."""
    lines = []
    if summary.skipped:
        lines.append("Skipped: " + "; ".join(f"{count} × {reason}" for reason, count in summary.skipped.items()) + ".")
    if summary.first_error:
        lines.append(f"First error: {summary.first_error}")
    for names in summary.same_maps:
        lines.append(f"{' and '.join(names)} differ in what they cost alone: their maps are the same, computed once.")
    return lines


@contextmanager
def resumable(results: Path) -> Iterator[None]:
    """Say that a run can be resumed wherever Ctrl-C ends it: while a model loads, or again while tables are made.

    Raises:
        typer.Exit: Ctrl-C was pressed, and nothing inside the block has dealt with it.
    """
    try:
        yield
    except KeyboardInterrupt:
        echo(f"stopped: all that was finished is stored in {results}; the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None


def exit_if_interrupted(results: Path, summary: "RunSummary") -> None:
    """Say what an interrupted run leaves for the next, and end with the code that shells expect.

    Raises:
        typer.Exit: The run was interrupted.
    """
    if summary.interrupted:
        echo(
            f"stopped: {summary.n_computed + summary.reused} explanations are stored in {results}, "
            f"{summary.remaining} remain; the same command goes on from here",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)


def show_plan(console: "Console", plan: "Plan") -> None:
    """Print what a dry run found."""
    from rich import box
    from rich.table import Table

    table = Table("method", "variant", title="What would run", box=box.SIMPLE_HEAD)
    for column in ("stored", "to explain", "forward passes", "time here", "peak memory, MB"):
        table.add_column(column, justify="right")
    for cell in plan.cells:
        counts = (cell.stored, cell.missing, round(cell.forwards))
        mark = "≤ " if cell.is_bound else "" if cell.timed or not cell.forwards else "≈ "
        peak = "–" if cell.peak_bytes is None else f"{cell.peak_bytes / 1e6:,.0f}"
        table.add_row(
            cell.method, cell.variant, *(f"{count:,}" for count in counts), mark + duration(cell.seconds), peak
        )
    console.print(table)
    passes, seconds = (sum(getattr(cell, name) for cell in plan.cells) for name in ("forwards", "seconds"))
    echo(f"{passes:,.0f} forward passes at most, about {duration(seconds)} here")
    peaks = [cell.peak_bytes for cell in plan.cells if cell.peak_bytes is not None]
    simulated = f"about {max(peaks) / 1e6:,.0f} MB" if peaks else "unknown"
    echo(f"peak memory {simulated}, with weights")
    echo("times: of a few samples; ≈, and peaks: simulated; ≤ and –: cannot be simulated")
    for reason, count in plan.skipped.items():
        echo(f"skipped: {count} × {reason}")


def duration(seconds: float) -> str:
    """Minutes and seconds, in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
