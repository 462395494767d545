"""Where commands print. What a user or a file says is shown as it is: never as markup, never as control characters."""

from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.segment import Segment

from atman_bench.core.texts import printable

TABLE_WIDTH = 120
"""Columns of output that goes to a file or a pipe, so that tables are not squeezed into rich's 80."""


class _Console(Console):
    """A console that interprets nothing in what it prints."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
        """Show control characters of texts; those of the console itself are no text."""
        for segment in super().render(*args, **options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(*, quiet: bool = False, stderr: bool = False) -> Console:
    """A console of the terminal's width, or of the tables' where there is no terminal."""
    made = _Console(quiet=quiet, stderr=stderr)
    return made if made.is_terminal else _Console(quiet=quiet, stderr=stderr, width=TABLE_WIDTH)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text with its control characters shown."""
    typer.echo(printable(text), err=err, nl=nl)
