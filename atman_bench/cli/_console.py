"""Where commands print."""

from rich.console import Console

TABLE_WIDTH = 120
"""Columns of output that goes to a file or a pipe, so that tables are not squeezed into rich's 80."""


def console(*, quiet: bool = False) -> Console:
    """A console of the terminal's width, or of the tables' where there is no terminal."""
    made = Console(quiet=quiet)
    return made if made.is_terminal else Console(quiet=quiet, width=TABLE_WIDTH)
