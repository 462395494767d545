"""``atman-bench explain``: which parts of one prompt, or of one image, made the model say this?"""

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
    from atman_bench.core.tensors import Explanation
    from atman_bench.report.heatmap import HeatMap, Phrase


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


@_options.flags(**_options.LOADING)
def explain(
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="What the model reads; default: a question of facts.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", "-i", help="An image that comes before the prompt; needs a model for it.")
    ] = None,
    explained: Annotated[
        str | None, typer.Option("--explained", help="text, image or both; default: the image where there is one.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="What is explained; default: what the model says itself.")
    ] = None,
    foil: Annotated[
        str | None,
        typer.Option("--foil", help="Explain why the target rather than this, each of one token (' Rome')."),
    ] = None,
    units: _options.Units = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="One of atman-bench list methods; default: atman, and of over 400 units adaptive."
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
        int, typer.Option("--max-new-tokens", min=1, help="Longest completion when no target is given.")
    ] = 16,
    phrases: Annotated[
        str | None,
        typer.Option(
            "--phrases", help="Parts of the target, by semicolons (a lonely cabin; with a truck): a map for each."
        ),
    ] = None,
    json_path: _options.JsonPath = None,
    html_path: Annotated[Path | None, typer.Option("--html", help="Write the heat map as a web page.")] = None,
    png_path: Annotated[Path | None, typer.Option("--png", help="Write the heat map as an image.")] = None,
    seed: _options.Seed = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Score every token of a prompt, or patch of an image, by how much it speaks for the target: a heat map.

    A target of several tokens, such as the model's own words, gets a map for each of them from the same sweep.
    """
    import atman_bench
    from atman_bench.core.records import Explained, Picture
    from atman_bench.report.picture_maps import heat_map_of

    options = _method_options(overrides, method or "atman") | _two_stages(budget, fidelity)
    loaded = load_probed(flags, "tiny-magma" if image else "tiny-text")
    if prompt is None:
        prompt = _example_prompt() if image is None else _example_caption()
    picture = None if image is None else Picture(image)
    if target is None:
        target = loaded.complete(prompt, 1 if foil else max_new_tokens, picture)
    explanation = atman_bench.explain(
        loaded,
        prompt=prompt,
        target=target,
        units=units,
        foil=foil,
        image=image,
        explained=explained or (Explained.IMAGE if image else Explained.TEXT),
        method=method,
        seed=seed or 0,
        **options,
    )
    caption = f"{loaded.name} · {explanation.method} {explanation.variant}"
    if explanation.foil is not None:
        caption += f" · rather than {explanation.foil!r}"
    heat = heat_map_of(explanation, prompt, picture, caption, _phrases(explanation, phrases), loaded.dtype_name)
    _deliver(heat, json_path, html_path, png_path)


def _method_options(overrides: Sequence[str] | None, method: str) -> dict[str, Any]:
    """Options of the method; whether it has them is left to ``explain``."""
    from inspect import signature

    import atman_bench

    options = read_overrides(overrides)
    # An argument of explain() itself would not reach the check of the method's options.
    if taken := sorted(options.keys() & signature(atman_bench.explain).parameters.keys()):
        raise ConfigError(
            f"--set {taken[0]}: {method} has no option {taken[0]!r}; atman-bench list methods shows its options"
        )
    return options


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


def _example_prompt() -> str:
    """Take the first question of the built-in dataset."""
    from atman_bench.datasets import DATASETS

    spec = DATASETS.get("facts")
    return spec.load(spec.config()).samples[0].prompt


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


def _deliver(heat: "HeatMap", json_path: str | None, html_path: Path | None, png_path: Path | None) -> None:
    """Print the heat map, or only its JSON where that goes to stdout, and write the files asked for."""
    from atman_bench.report.heatmap import as_dict, to_html, to_png, to_terminal

    data = json_text(as_dict(heat), indent=2)
    if json_path == STDOUT:
        echo(data)
    else:
        console().print(to_terminal(heat))
    with writing():
        if json_path not in (None, STDOUT):
            Path(json_path).write_text(data + "\n", encoding="utf-8")
        if html_path is not None:
            html_path.write_text(to_html(heat), encoding="utf-8")
        if png_path is not None:
            to_png(heat, png_path)
