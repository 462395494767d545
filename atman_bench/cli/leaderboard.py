"""``atman-bench leaderboard``: every method by quality, faithfulness and cost, on one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options, _runs
from atman_bench.cli._console import console, echo
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atman_bench.report.figure_files import FigureFormat

PAGE = "leaderboard"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    leaderboard = typer.Typer(help="Every method by quality, faithfulness and cost, on every dataset and model.")
    leaderboard.command(
        "run", epilog=_options.examples("atman-bench leaderboard run leaderboard-facts -n 10 -r results/leaderboard")
    )(run)
    leaderboard.command("page", epilog=_options.examples("atman-bench leaderboard page results/leaderboard"))(page)
    app.add_typer(leaderboard, name="leaderboard")


@_options.flags(
    **_options.SAMPLES, methods=_options.Methods, **_options.SCORING, **_options.LOADING, **_options.WORKERS
)
def run(
    flags: dict[str, Any],
    configs: Annotated[
        list[str],
        typer.Argument(help="YAML files, or presets: leaderboard-facts, leaderboard-scenes, ..."),
    ],
    overrides: _options.Overrides = None,
    figure_format: _options.FigureFormats = None,
    quiet: _options.Quiet = False,
) -> None:
    """Run configurations of the leaderboard, then make its page: maps, faithfulness, costs.

    Everything is stored as it finishes: the same command goes on where it was stopped. Flags apply to all
    configurations. Workers compute maps and faithfulness; costs are times side by side, so that they are measured in
    this process alone.
    """
    from atman_bench.evaluation.leaderboard import load_leaderboard, run_leaderboard

    formats = _options.figure_formats(figure_format)
    crew = _runs.workers_asked(flags)
    # All are checked before one of them runs.
    chosen = [load_leaderboard(config, flags, overrides or ()) for config in configs]
    screen = console(quiet=quiet)
    for config in chosen:
        with _runs.resumable(config.run.results):
            with (
                _runs.workers(crew, screen, config.run.device) as driver,
                _runs.ProgressBar(screen) as progress,
            ):
                summary = run_leaderboard(config, progress, driver=driver)
            _runs.exit_if_interrupted(config.run.results, summary)
        screen.print(f"{config.name}: {len(summary.uids)} samples, {len(summary.cells)} methods")
        for note in _runs.notes(summary):
            screen.print(note)
    for results in dict.fromkeys(config.run.results for config in chosen):
        with _runs.resumable(results):
            _write(results, formats)


def page(
    results: Annotated[Path, typer.Argument(help="A results folder of atman-bench leaderboard run.")],
    figure_format: _options.FigureFormats = None,
) -> None:
    """Make the page again from what is stored; no model is loaded."""
    _write(results, _options.figure_formats(figure_format))


def _write(results: Path, formats: "Sequence[FigureFormat]") -> None:
    """Write the page as HTML and Markdown, and its numbers as JSON and CSV."""
    from atman_bench.evaluation.leaderboard_store import FOLDER
    from atman_bench.report.leaderboard import TITLE, as_records, as_table, sections_of
    from atman_bench.report.leaderboard_panels import panels_of
    from atman_bench.report.page import html_page, markdown_page

    panels = panels_of(results)
    sections = sections_of(panels, results, formats)
    folder = results / FOLDER
    write_atomically(folder / f"{PAGE}.html", html_page(sections, TITLE))
    write_atomically(folder / f"{PAGE}.md", markdown_page(sections, folder, TITLE))
    write_atomically(folder / f"{PAGE}.json", as_records(panels))
    write_atomically(folder / f"{PAGE}.csv", as_table(panels))
    echo(f"wrote {folder / PAGE}.html, .md, .json and .csv: {len(panels)} panels")
