"""``atman-bench scale``: what methods cost, over models and sequence lengths."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo
from atman_bench.core.errors import ConfigError
from atman_bench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from atman_bench.profiling.grid import ScaleConfig, ScaleSummary
    from atman_bench.report.figure_files import FigureFormat


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "scale",
        epilog=_options.examples(
            "atman-bench scale --models random:10M --methods plain:lean,atman --tokens 128,256",
            "atman-bench scale -c paper --simulate A100-80GB",
        ),
    )(scale)


def _numbers(param: typer.CallbackParam, listed: str | None) -> list[int | None] | None:
    """``"1, auto"`` -> ``[1, None]``."""
    if listed is None:
        return None
    try:
        return [None if text == "auto" else int(text) for text in _options.names(param.opts[0], listed)]
    except ValueError:
        raise ConfigError(f"{param.opts[0]} takes whole numbers by commas (128,256), received {listed!r}") from None


@_options.flags(
    models=Annotated[
        str | None,
        typer.Option(
            "--models",
            callback=_options.split,
            help="Models by commas: random:SIZE (10M to 70B), pulled:NAME, hf:FOLDER.",
        ),
    ],
    methods=Annotated[
        str | None,
        typer.Option(
            "--methods",
            callback=_options.split,
            help="METHOD or METHOD:VARIANT by commas; plain:default and plain:lean are forwards.",
        ),
    ],
    tokens=Annotated[str | None, typer.Option("--tokens", callback=_numbers, help="Sequence lengths, by commas.")],
    batches=Annotated[
        str | None,
        typer.Option(
            "--batches",
            callback=_numbers,
            help="Perturbations per forward pass, by commas; auto fills the memory budget.",
        ),
    ],
    workers=Annotated[
        str | None,
        typer.Option("--workers", callback=_numbers, help="Processes that share the perturbations, by commas."),
    ],
    atman_tokens=Annotated[
        int | None, typer.Option("--atman-tokens", help="Time only so many evenly spaced perturbations; default: all.")
    ],
    extrapolate=Annotated[
        bool | None, typer.Option("--extrapolate", help="Estimate the time of all perturbations from those, marked.")
    ],
    repeats=Annotated[int | None, typer.Option("--repeats", help="Timed runs of a cell at the most.")],
    time_limit=Annotated[float | None, typer.Option("--time-limit", help="Seconds for a cell, with loading.")],
    memory_limit=Annotated[
        float | None,
        typer.Option("--memory-limit", help="GB for a cell, weights included: the size of a smaller card."),
    ],
    threads=Annotated[int | None, typer.Option("--threads", help="Processor threads; default: one a processor.")],
    dtype=_options.Dtype,
    device=_options.Device,
    results=_options.Results,
)
def scale(
    flags: dict[str, Any],
    config: Annotated[
        str | None,
        typer.Option(
            "--config", "-c", help="YAML file, or a preset of configs/scale (smollm2, sizes, parallel, paper, long)."
        ),
    ] = None,
    simulate: Annotated[
        str | None,
        typer.Option(
            "--simulate",
            metavar="DEVICE",
            help="Predict instead, without weights: A100-80GB, H100-80GB, H200, RTX4090, cpu-24GB, or a YAML file.",
        ),
    ] = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Simulate the measured cells too, and write agreement.md.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure stored cells again.")] = False,
    figure_format: _options.FigureFormats = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which cells would run.")] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Measure the time and peak memory of methods over models and sequence lengths (Figs 5, 6 and 7).

    Each cell runs in a process of its own: one that runs out of memory or time, or crashes, is a marked row and not the
    end. Measured cells are stored and never measured twice: the same command goes on where it was stopped.
    """
    from atman_bench.cli._runs import ProgressBar, resumable
    from atman_bench.profiling.devices import find_device
    from atman_bench.profiling.grid import load_scale_config, run
    from atman_bench.profiling.predict import simulate_grid

    formats = _options.figure_formats(figure_format)
    settings = load_scale_config(config, flags)
    if dry_run:
        _show_plan(settings)
        return
    screen = console(quiet=quiet)
    with resumable(settings.results):
        with ProgressBar(screen) as progress:
            if simulate is None:
                summary = run(settings, progress, overwrite=overwrite)
            else:
                summary = simulate_grid(settings, find_device(simulate), progress, overwrite=overwrite)
        _report(screen, settings, summary, formats)
        if agreement:
            _report_agreement(screen, settings)


def _show_plan(settings: "ScaleConfig") -> None:
    from atman_bench.profiling.grid import missing_cells, read_scale_rows

    missing = missing_cells(settings, read_scale_rows(settings.results))
    for cell in missing:
        echo(str(cell))
    echo(f"{len(missing)} cells to measure, {len(settings.cells) - len(missing)} stored in {settings.results}")


def _report_agreement(screen: "Console", settings: "ScaleConfig") -> None:
    """Print and write how simulated peaks compare with all measured ones of the results folder."""
    from atman_bench.core.errors import DataError
    from atman_bench.profiling.devices import find_device
    from atman_bench.profiling.grid import read_scale_rows
    from atman_bench.profiling.predict import COMPARED_BYTES, compare
    from atman_bench.report.costs import agreement_markdown

    with screen.status("simulating what was measured"):
        pairs = list(compare(read_scale_rows(settings.results), find_device("cpu-24GB")))
    if not pairs:
        raise DataError(
            f"no measured cell in {settings.results} can be compared with a simulation: expected cells of a CPU whose "
            f"peak is above {COMPARED_BYTES / 1e6:.0f} MB"
        )
    table = agreement_markdown(pairs)
    write_atomically(settings.results / "agreement.md", table)
    screen.print(table)


def _report(
    screen: "Console", settings: "ScaleConfig", summary: "ScaleSummary", formats: "Sequence[FigureFormat]"
) -> None:
    """Print the table of this run; write the table and figures of everything in the results folder."""
    from atman_bench.cli._runs import INTERRUPTED
    from atman_bench.profiling.grid import read_scale_rows
    from atman_bench.report.costs import cost_tables, frame_of, markdown
    from atman_bench.report.figures import draw_all

    if summary.rows:
        for table in cost_tables(frame_of(summary.rows, extrapolate=settings.extrapolate)):
            screen.print(table.rich())
        everything = frame_of(read_scale_rows(settings.results), extrapolate=settings.extrapolate)
        write_atomically(settings.results / "table.md", markdown(everything))
        draw_all(everything, settings.results / "figures", formats)
    for row in summary.rows:
        if row.error is not None:
            echo(f"{row.status}: {row.model}, {row.method}:{row.variant}, {row.tokens} tokens: {row.error}", err=True)
    if disturbed := sum(bool(row.disturbances) for row in summary.rows):
        echo(
            f"not quiet: {disturbed} of {len(summary.rows)} cells (table.md says why); their times say little: "
            "measure them again with --overwrite while nothing else runs",
            err=True,
        )
    screen.print(f"{summary.computed} cells done; rows, table.md and figures are in {settings.results}")
    if summary.interrupted:
        echo("stopped: the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED)
