"""``atman-bench report``: results as one page that opens from disk."""

from pathlib import Path
from typing import Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo
from atman_bench.core.files import write_atomically


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "report",
        epilog=_options.examples(
            "atman-bench report results/reproduce-tiny -o report.html",
        ),
    )(report)


def report(
    results: Annotated[list[Path], typer.Argument(help="Results folders of reproduce or eval.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="PAGE.html (self-contained), or PAGE.md with links to figures.")
    ] = Path("report.html"),
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "The AtMan paper, reproduced",
) -> None:
    """Put stored results into one page: numbers with intervals, floors, the paper's numbers, what holds of its claims.

    Nothing is computed but tables: no model is loaded.
    """
    from atman_bench.core.errors import ConfigError
    from atman_bench.report import page
    from atman_bench.report.sections import sections_of

    if out.suffix not in (".html", ".md"):
        raise ConfigError(f"--out must end in .html or .md, received {out}")
    stored = [section for folder in results for section in page.read(folder) or sections_of(folder)]
    if out.suffix == ".html":
        write_atomically(out, page.html_page(stored, title))
    else:
        write_atomically(out, page.markdown_page(stored, out.parent, title))
    echo(f"wrote {out}: {len(stored)} experiments")
