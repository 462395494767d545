"""``atman-bench explain``: which parts of one prompt, or of one image, made the model say this?"""

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo
from atman_bench.cli._explaining import STDOUT, load_probed, method_options, writing
from atman_bench.core.errors import ConfigError
from atman_bench.core.texts import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atman_bench.api.explanation import Explanation
    from atman_bench.report.heatmap import HeatMap, Phrase


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "explain",
        epilog=_options.examples(
            "atman-bench explain",
            'atman-bench explain -m FOLDER --chat --explain context -p "Ada lives in Bern. Where does Ada live?"',
            "atman-bench explain --method atman,attention,attnlrp --html map.html --png map.png",
            "atman-bench explain -i photo.jpg -m photo-magma --html map.html",
        ),
    )(explain)


@_options.flags(**_options.LOADING)
def explain(
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="What the model reads; default: a question of facts.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            "-i",
            callback=_options.existing,
            help="An image that comes before the prompt; needs a model for it.",
        ),
    ] = None,
    explained: Annotated[
        str | None,
        typer.Option(
            "--explain",
            "--explained",
            metavar="PART",
            help="text, image, both, context (of the prompt's question) or START:END (its characters); "
            "default: the image where there is one.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="What is explained; default: what the model says itself.")
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put the prompt into the model's chat template, as a user's message.")
    ] = False,
    foil: Annotated[
        str | None,
        typer.Option("--foil", help="Explain why the target rather than this (' Rome'), of any length."),
    ] = None,
    units: _options.Units = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            callback=_options.split,
            help="Methods by commas; default: atman, and of over 400 units adaptive.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", help="Two stages, not the exact map: a share of its cost (0.25), forward passes (40) or 20s."
        ),
    ] = None,
    fidelity: Annotated[
        float | None,
        typer.Option("--fidelity", help="Two stages until about this share of the positive relevance is exact (0.95)."),
    ] = None,
    overrides: _options.MethodOverrides = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest answer when no target is given.")
    ] = 16,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            help="A text that ends the model's answer; may be repeated. Default: a line break, with --chat none.",
        ),
    ] = None,
    phrases: Annotated[
        str | None,
        typer.Option(
            "--phrases", help="Parts of the target, by semicolons (a lonely cabin; with a truck): a map for each."
        ),
    ] = None,
    json_path: _options.JsonPath = None,
    html_path: Annotated[
        Path | None, typer.Option("--html", help="Write a page to click through: token by token, method by method.")
    ] = None,
    png_path: Annotated[Path | None, typer.Option("--png", help="Write the maps as an image.")] = None,
    seed: _options.Seed = None,
    quiet: _options.Quiet = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Score every token of a prompt, or patch of an image, by how much it speaks for the target: a heat map.

    A target of several tokens, such as the model's own words, gets a map for each of them from the same sweep.
    """
    import atman_bench
    from atman_bench.core.records import Explained

    # The option's callback has split the names.
    methods: list[str | None] = list(method) if method else [None]
    options = method_options(overrides, methods)
    for name in methods:
        options[name] |= _two_stages(budget, fidelity) if name in (None, "adaptive") else {}
    evidence = None
    if prompt is None and image is None:
        prompt, evidence = _example()
    elif prompt is None:
        prompt = _example_caption()
    said = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    with _progress(quiet):
        loaded = load_probed(flags, "tiny-magma" if image else "tiny-text")
        found = [
            atman_bench.explain(
                loaded,
                **said,
                target=target,
                units=units,
                foil=foil,
                image=image,
                explained=explained or (Explained.IMAGE if image else Explained.TEXT),
                method=name,
                seed=seed or 0,
                max_new_tokens=max_new_tokens,
                stop=stop or None,
                **options[name],
            )
            for name in methods
        ]
    heats = [one.heat(phrases=_phrases(one, phrases), evidence=None if chat else evidence) for one in found]
    _deliver(found, heats, json_path, html_path, png_path)


@contextmanager
def _progress(quiet: bool) -> "Iterator[None]":
    """Show what is being done: loading, then the passes of each method."""
    from atman_bench.cli._runs import ProgressBar
    from atman_bench.core.progress import listening

    with ProgressBar(console(quiet=quiet, stderr=True)) as bar, listening(bar):
        yield


def _two_stages(budget: str | None, fidelity: float | None) -> dict[str, Any]:
    """The options of ``adaptive`` that ``--budget`` and ``--fidelity`` are.

    Raises:
        ConfigError: The budget is no number, or no number of seconds.
    """
    options: dict[str, Any] = {}
    if fidelity is not None:
        # Without a budget of its own the search goes on until the estimate is low enough.
        options |= {"budget": 1.0, "fidelity": fidelity}
    if budget is not None:
        try:
            value = float(budget.removesuffix("s"))
        except ValueError as error:
            raise ConfigError(
                f"--budget is a share of the exact map's cost (0.25), a number of forward passes (40) or a time (20s), "
                f"received {budget!r}"
            ) from error
        options |= {"budget": 1.0, "seconds": value} if budget.endswith("s") else {"budget": value}
    return options


def _example() -> tuple[str, tuple[tuple[int, int], ...]]:
    """Take the first question of the built-in dataset, and where its answer stands."""
    from atman_bench.core.records import CharSpans
    from atman_bench.datasets import DATASETS

    spec = DATASETS.get("facts")
    sample = spec.load(spec.config()).samples[0]
    return sample.prompt, sample.label.spans if isinstance(sample.label, CharSpans) else ()


def _example_caption() -> str:
    """Take the prompt that the paper has before the name of what an image shows."""
    from atman_bench.datasets.openimages import PROMPT

    return PROMPT


def _phrases(explanation: "Explanation", listed: str | None) -> "tuple[Phrase, ...]":
    """Find the parts of the target that a user names.

    Raises:
        ConfigError: The target has no such part, or the method explains no token on its own.
    """
    from atman_bench.report.heatmap import find_phrase

    if listed is None:
        return ()
    if explanation.per_target is None:
        raise ConfigError(
            f"--phrases: {explanation.method} explains the mean over the target only; take another method"
        )
    return tuple(find_phrase(explanation.target_texts, phrase.strip()) for phrase in listed.split(";"))


def _deliver(
    found: "Sequence[Explanation]",
    heats: "Sequence[HeatMap]",
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
) -> None:
    """Print the heat maps, or only their JSON where that goes to stdout, and write the files asked for."""
    from atman_bench.report.heatmap import as_dict
    from atman_bench.report.heatmap_page import to_html
    from atman_bench.report.heatmap_png import to_png
    from atman_bench.report.heatmap_terminal import to_terminal

    records = [as_dict(heat) for heat in heats]
    data = json_text(records if len(records) > 1 else records[0], indent=2)
    if json_path == STDOUT:
        echo(data)
    else:
        for heat in heats:
            console().print(to_terminal(heat))
    with writing():
        if json_path not in (None, STDOUT):
            Path(json_path).write_text(data + "\n", encoding="utf-8")
        if html_path is not None:
            pages = [(one.name, heat) for one, heat in zip(found, heats, strict=True)]
            html_path.write_text(to_html(pages), encoding="utf-8")
        if png_path is not None:
            for i, heat in enumerate(heats):
                name = png_path.stem if i == 0 else f"{png_path.stem}-{found[i].method}"
                to_png(heat, png_path.with_stem(name))
