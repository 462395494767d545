"""``atman-bench steer``: amplify or suppress parts of a prompt while the model writes on (Fig. 2b)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo
from atman_bench.cli._explaining import STDOUT, load_probed, read_overrides, writing
from atman_bench.core.errors import ConfigError
from atman_bench.core.texts import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from atman_bench.api.steering import Change, Steered


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "steer",
        epilog=_options.examples(
            "atman-bench steer --amplify soccer=3",
            'atman-bench steer -m FOLDER -p "I like tea and chess." --suppress tea=0.9 --topic chess',
        ),
    )(steer)


@_options.flags(**_options.LOADING)
def steer(
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="The text; default: that of Fig. 2b.")] = None,
    amplify: Annotated[
        list[str] | None,
        typer.Option("--amplify", metavar="WORD|A:B=FACTOR", help="Multiply scores (soccer=3); may be repeated."),
    ] = None,
    suppress: Annotated[
        list[str] | None,
        typer.Option("--suppress", metavar="WORD|A:B=F", help="Suppress by f, 1 = all (math=0.9); may be repeated."),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="WORD", help="Watch this word; default: those changed; may be repeated."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Length of the text.")] = 20,
    form: Annotated[str | None, typer.Option("--form", help="shifted (default), literal, log or mask.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another option of the edit: layers=[0, 1]."),
    ] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH|-", help="Write both texts as JSON; - prints only that.")
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Write on from a prompt with words or character ranges A:B amplified or suppressed, beside the plain text."""
    from dataclasses import asdict

    from atman_bench.api import steering
    from atman_bench.core.options import build

    changes = _changes(amplify or (), suppress or ())
    options: dict[str, Any] = read_overrides(overrides) | ({} if form is None else {"form": form})
    config = build(steering.SteeringConfig, options, "steer")
    loaded = load_probed(flags)
    steered = steering.steer(
        loaded, steering.PAPER_PROMPT if prompt is None else prompt, changes, max_new_tokens, config, topic or ()
    )
    data = json_text({"model": loaded.name, "form": config.form, **asdict(steered)}, indent=2)
    if json_path == STDOUT:
        echo(data)
    else:
        out = console()
        out.print(_texts(steered, f"{loaded.name} · {config.form}"))
        out.print(_topics(steered))
    if json_path not in (None, STDOUT):
        with writing():
            Path(json_path).write_text(data + "\n", encoding="utf-8")


def _changes(amplify: Sequence[str], suppress: Sequence[str]) -> list["Change"]:
    """Read ``PART=NUMBER``; for what is suppressed the number is f, and the factor 1 - f.

    Raises:
        ConfigError: A number is missing or on the wrong side of what the option says, or nothing is given.
    """
    from atman_bench.api.steering import Change

    changes = []
    for text in amplify:
        part, number = _number("--amplify", "soccer=3", text)
        if number <= 1:
            raise ConfigError(f"--amplify multiplies scores: expected a factor above 1, received {text!r}")
        changes.append(Change(part, number))
    for text in suppress:
        part, number = _number("--suppress", "math=0.9", text)
        if not 0 < number <= 1:
            raise ConfigError(f"--suppress multiplies scores by 1 - f: expected 0 < f <= 1, received {text!r}")
        changes.append(Change(part, round(1 - number, 12)))  # 0.1, not 0.09999999999999998
    if not changes:
        raise ConfigError("nothing to steer by: give --amplify soccer=3 or --suppress math=0.9")
    return changes


def _number(option: str, example: str, text: str) -> tuple[str, float]:
    from math import isfinite

    part, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not part or not isfinite(value):
        raise ConfigError(f"{option} takes a word or a range A:B and a number ({example}), received {text!r}")
    return part, value


def _texts(steered: "Steered", title: str) -> "Table":
    """Make the two texts, side by side, under a list of the tokens that were changed."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    edited = ", ".join(f"{token.strip()} × {factor:g}" for token, factor in steered.edited)
    table = Table(title=Text(title), box=box.SIMPLE_HEAD)
    table.add_column("plain", ratio=1)
    table.add_column(Text(f"steered: {edited}"), ratio=1)
    words = [topic.word for topic in steered.topics]
    texts = []
    for continuation in (steered.plain, steered.steered):
        text = Text.assemble((steered.prompt, "dim"), continuation)
        text.highlight_words(words, "bold", case_sensitive=False)
        texts.append(text)
    table.add_row(*texts)
    return table


def _topics(steered: "Steered") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "log p of",
        box=box.SIMPLE_HEAD,
        caption_justify="left",
        caption="log-probability of the word's first token (nats): at the first step, where both texts are the same, "
        "and averaged over the steps of each text",
    )
    for name in ("first step", "steered", "shift", "mean", "steered", "shift"):
        table.add_column(name, justify="right")
    for topic in steered.topics:
        cells = []
        for pair in (topic.first, topic.mean):
            cells += [f"{pair.plain:.2f}", f"{pair.steered:.2f}", f"{pair.shift:+.2f}"]
        table.add_row(Text(f"{topic.word} ({topic.token.strip()})"), *cells)
    return table
