"""``atman-bench list``: what is registered; named entries with their options."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from atman_bench.core.registry import Registry


class Kind(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    DATASETS = "datasets"
    MODELS = "models"
    METRICS = "metrics"
    EXPERIMENTS = "experiments"


_LATER = {Kind.MODELS: ("OFA", "left for later, on purpose: the paper has no numbers either (A.10)")}
"""What the paper names and this suite lacks."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "list",
        epilog=_options.examples(
            "atman-bench list",
            "atman-bench list methods",
            "atman-bench list methods atman chefer",
            "atman-bench list metrics --include my_metric.py",
        ),
    )(list_entries)


def list_entries(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; all kinds without it.", show_default=False)] = None,
    names: Annotated[
        list[str] | None, typer.Argument(help="Show these with all their options.", show_default=False)
    ] = None,
) -> None:
    """List what is registered, a line each; with names also options and variants.

    The list itself loads no model code and takes no time.
    """
    screen = console()
    if kind is None:
        for block in _overview():
            screen.print(block)
        return
    for block in _details(kind, names) if names else _lines(kind):
        screen.print(block)


def _registry(kind: Kind) -> "Registry[Any]":
    match kind:
        case Kind.METHODS:
            from atman_bench.methods import METHODS

            return METHODS
        case Kind.DATASETS:
            from atman_bench.datasets import DATASETS

            return DATASETS
        case Kind.MODELS:
            from atman_bench.models import MODELS

            return MODELS
        case Kind.METRICS:
            from atman_bench.metrics import METRICS

            return METRICS
        case Kind.EXPERIMENTS:
            from atman_bench.paper.experiments import EXPERIMENTS

            return EXPERIMENTS


def _overview() -> "Iterator[RenderableType]":
    """Yield every kind with the names of its entries."""
    from rich.padding import Padding
    from rich.text import Text

    for kind in Kind:
        names = [_written(kind, name) for name in _in_order(kind)]
        yield Text.assemble((kind.value, "bold"), f"  {len(names)}")
        yield Padding(Text(", ".join(names), "cyan"), (0, 0, 1, 2))
    yield Text("atman-bench list KIND says what they are; atman-bench list KIND NAME shows options", "dim")


def _in_order(kind: Kind) -> "Sequence[str]":
    names = _registry(kind).names
    if kind is not Kind.EXPERIMENTS:
        return names
    from atman_bench.report.page import in_order

    return in_order(names)


def _written(kind: Kind, name: str) -> str:
    """A name as users write it; a model family with what comes after its colon."""
    if kind is not Kind.MODELS:
        return name
    argument = _registry(kind).described(name).get("argument", "")
    written = name.replace("_", "-")
    return f"{written}:{argument}" if argument else written


def _lines(kind: Kind) -> "Iterator[RenderableType]":
    """Yield a table with a line for each entry, whose words fold beside its name."""
    from rich.table import Table
    from rich.text import Text

    from atman_bench.core.errors import ConfigError

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    registry = _registry(kind)
    for name in _in_order(kind):
        try:
            table.add_row(Text(_written(kind, name), "bold cyan"), Text(_summary(kind, name)))
        except ConfigError as error:
            if registry.plugin(name) is None:
                raise
            table.add_row(Text(name, "bold red"), Text(str(error)))
    if kind in _LATER:
        table.add_row(*(Text(word, "dim") for word in _LATER[kind]))
    yield table
    if kind is Kind.METRICS:
        yield from _measures()
    if kind is not Kind.METRICS and kind is not Kind.MODELS:
        yield Text(f"\natman-bench list {kind} NAME shows options", "dim")


def _measures() -> "Iterator[RenderableType]":
    """Yield what needs no ground truth, a line each."""
    from rich.table import Table
    from rich.text import Text

    from atman_bench.metrics.faithfulness import MEASURES

    yield Text("\natman-bench faithfulness has measures of its own, which need no ground truth:", "dim")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, measure in MEASURES.items():
        direction = f"{'higher' if measure.higher_is_better else 'lower'} is better"
        named = "" if measure.by_default else "; only where --measures names it"
        table.add_row(Text(name, "bold cyan"), Text(f"{measure.heading}; {direction}{named}"))
    yield table


def _summary(kind: Kind, name: str) -> str:
    """What an entry is, in one line."""
    registry = _registry(kind)
    plugin = registry.plugin(name)
    origin = "" if plugin is None else f" [{plugin.source}]"
    if kind is Kind.METRICS:
        spec = registry.get(name)
        direction = f"{'higher' if spec.higher_is_better else 'lower'} is better"
        return f"{spec.summary}; {direction}{'' if spec.by_default else '; only where --metrics names it'}{origin}"
    if kind is Kind.EXPERIMENTS:
        spec = registry.get(name)
        return f"{spec.title} ({spec.paper})"
    about = registry.described(name)
    named = "; only where --methods names it" if about.get("default") is False else ""
    return f"{about.get('summary', '')}{named}{origin}"


def _details(kind: Kind, names: "Sequence[str]") -> "Iterator[RenderableType]":
    """Yield named entries with all their options and variants."""
    from rich.text import Text

    registry = _registry(kind)
    for given in names:
        name = given.partition(":")[0].replace("-", "_")
        spec = registry.get(name)
        yield Text.assemble((_written(kind, name), "bold cyan"), f"  {_summary(kind, name)}")
        if kind in (Kind.METHODS, Kind.DATASETS):
            yield from _option_table(spec.config, f"{kind.value}.{name}")
        for variant, options in getattr(spec, "variants", {}).items():
            settings = ", ".join(f"{option}={value}" for option, value in options.items())
            yield Text.assemble((f"  {name}:{variant}", "cyan"), f"  {settings or 'the defaults'}")
        for preset, reason in getattr(spec, "left_out", {}).items():
            yield Text.assemble((f"  not at preset {preset}", "cyan"), f"  {reason}")
        yield ""


def _option_table(config_type: type, prefix: str) -> "Iterator[RenderableType]":
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from atman_bench.core.options import options_of

    options = options_of(config_type)
    if not options:
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=36)
    table.add_column()
    for option in options:
        default = f"{option.type}, default {option.default}" if option.default else f"{option.type}, required"
        table.add_row(Text(option.name), Text(default, "dim"), Text(option.doc))
    yield Padding(Text(f"--set {prefix}.OPTION=VALUE", "dim"), (0, 0, 0, 2))
    yield Padding(table, (0, 0, 0, 2))
