"""``atman-bench maps``: stored maps laid over their images, a column per method, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "maps",
        epilog=_options.examples(
            "atman-bench maps results --out maps.png --methods atman,chefer --n 6",
        ),
    )(maps)


def maps(
    results: Annotated[Path, typer.Argument(help="A results folder of atman-bench eval on images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write: NAME.png or NAME.svg.")],
    data: Annotated[
        str | None, typer.Option("--data", help="Where the dataset is; its images are not in the results.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", help="METHOD or METHOD:VARIANT, by commas: the columns; default: all but floors."),
    ] = None,
    uids: Annotated[str | None, typer.Option("--uids", help="Samples, by commas: the rows.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many samples, if not chosen by --uids.")] = 4,
    sign: Annotated[str, typer.Option("--sign", help="How signed scores become a map.")] = "positive",
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Which, if the results are of several.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Which, if the results are of several.")] = None,
    figure_format: _options.FigureFormats = None,
) -> None:
    """Draw maps over their images: a row per sample, a column per method, the evidence outlined."""
    from atman_bench.report.figure_files import FigureFormat
    from atman_bench.report.figures import FIGURES
    from atman_bench.report.picture_maps import frame_of_maps, picture_maps
    from atman_bench.report.stored_maps import Selection

    columns = None if methods is None else _options.names("--methods", methods)
    rows = None if uids is None else _options.names("--uids", uids)
    selection = Selection(dataset, model, columns, rows, n=n)
    frame = frame_of_maps(picture_maps(results, data, _options.sign_rule(sign), selection))
    named = out.suffix.removeprefix(".") in set(FigureFormat)
    path = out.with_suffix("") if named else out
    formats = _options.figure_formats(figure_format or (out.suffix.removeprefix(".") if named else None))
    FIGURES.get("maps").draw(frame, path, formats)
    echo(f"wrote {' and '.join(f'{path}.{kind}' for kind in formats)}")
