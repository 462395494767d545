"""``atman-bench list``: what is registered, with the options of each entry."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from atman_bench.cli._console import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType


class Kind(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    DATASETS = "datasets"
    MODELS = "models"
    METRICS = "metrics"
    EXPERIMENTS = "experiments"


_LATER = {
    Kind.METHODS: ("Attention Flow", "left for later, on purpose: the paper has no numbers either (A.9: too costly)"),
    Kind.MODELS: ("OFA", "left for later, on purpose: the paper has no numbers either (A.10)"),
}
"""What the paper names and this suite lacks."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_entries)


def list_entries(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what is registered, with the options of each entry."""
    screen = console()
    describe = {
        Kind.METHODS: _methods,
        Kind.DATASETS: _datasets,
        Kind.MODELS: _models,
        Kind.METRICS: _metrics,
        Kind.EXPERIMENTS: _experiments,
    }[kind]
    for block in describe():
        screen.print(block)
    if kind in _LATER:
        screen.print(_line(*_LATER[kind]))


def _methods() -> "Iterator[RenderableType]":
    from atman_bench.methods import METHODS

    for name in METHODS.names:
        spec = METHODS.get(name)
        yield _heading(name, spec.summary)
        yield from _options(spec.config, f"methods.{name}")
        for variant, options in spec.variants.items():
            settings = ", ".join(f"{option}={value}" for option, value in options.items())
            yield _line(f"  {name}:{variant}", settings or "the defaults")
        yield ""


def _datasets() -> "Iterator[RenderableType]":
    from atman_bench.datasets import DATASETS

    for name in DATASETS.names:
        spec = DATASETS.get(name)
        yield _heading(name, spec.summary)
        yield from _options(spec.config, f"datasets.{name}")
        yield ""


def _models() -> "Iterator[RenderableType]":
    from atman_bench.models import MODELS

    for name in MODELS.names:
        spec = MODELS.get(name)
        written = name.replace("_", "-")
        yield _heading(f"{written}:{spec.argument}" if spec.argument else written, spec.summary)


def _metrics() -> "Iterator[RenderableType]":
    from atman_bench.metrics import METRICS
    from atman_bench.metrics.faithfulness import MEASURES

    for name in METRICS.names:
        spec = METRICS.get(name)
        direction = f"{'higher' if spec.higher_is_better else 'lower'} is better"
        named = "" if spec.by_default else "; only where --metrics names it"
        yield _heading(name, f"{spec.summary}; {direction}{named}")
    yield _line("atman-bench faithfulness", "measures of its own, which need no ground truth:")
    for name, measure in MEASURES.items():
        direction = f"{'higher' if measure.higher_is_better else 'lower'} is better"
        named = "" if measure.by_default else "; only where --measures names it"
        yield _heading(name, f"{measure.heading}; {direction}{named}")


def _experiments() -> "Iterator[RenderableType]":
    from atman_bench.paper.experiments import EXPERIMENTS
    from atman_bench.report.page import in_order

    for name in in_order(EXPERIMENTS.names):
        spec = EXPERIMENTS.get(name)
        yield _heading(name, f"{spec.title} ({spec.paper})")
        for preset, reason in spec.left_out.items():
            yield _line(f"  not at preset {preset}", reason)


def _options(config_type: type, prefix: str) -> "Iterator[RenderableType]":
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from atman_bench.core.options import options_of

    options = options_of(config_type)
    if not options:
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for option in options:
        default = f"{option.type}, default {option.default}" if option.default else f"{option.type}, required"
        table.add_row(Text(option.name), Text(default, "dim"), Text(option.doc))
    yield Padding(Text(f"--set {prefix}.OPTION=VALUE", "dim"), (0, 0, 0, 2))
    yield Padding(table, (0, 0, 0, 2))


def _heading(name: str, summary: str) -> "RenderableType":
    from rich.text import Text

    return Text.assemble((name, "bold cyan"), f"  {summary}")


def _line(name: str, text: str) -> "RenderableType":
    from rich.text import Text

    return Text.assemble((name, "cyan"), f"  {text}")
