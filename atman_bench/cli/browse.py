"""``atman-bench browse``: stored samples as one page to look through."""

from pathlib import Path
from typing import Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo
from atman_bench.core.files import write_atomically


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "browse",
        epilog=_options.examples(
            "atman-bench browse results",
            "atman-bench browse results/squad --tokenizer pulled:smollm2-135m --methods atman,attnlrp -o squad.html",
        ),
    )(browse)


def browse(
    results: Annotated[Path, typer.Argument(help="A results folder of atman-bench eval.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("browse.html"),
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", callback=_options.split, help="METHOD or METHOD:VARIANT, by commas; default: all there are."
        ),
    ] = None,
    metrics: _options.Metrics = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Where the dataset is, if it does not come with the package.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", help="The model's folder, hub id or pulled:NAME, for texts; embedded models need none."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many samples; 2,000 at the most.")] = 2000,
    sign: Annotated[str, typer.Option("--sign", help="How signed scores become a map that is scored.")] = "positive",
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Which, if the results are of several.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Which, if the results are of several.")] = None,
    quiet: _options.Quiet = False,
) -> None:
    """Write a page that needs no network: samples, methods side by side, evidence outlined; sort and filter.

    No model runs: maps come from the results, texts and images from the dataset, tokens from the tokenizer.
    """
    from atman_bench.api import browsing
    from atman_bench.cli._runs import ProgressBar
    from atman_bench.core.progress import listening
    from atman_bench.metrics import chosen_metrics
    from atman_bench.report.stored_maps import Selection

    chosen = chosen_metrics(metrics or ())
    # The option's callback has split the names.
    selection = Selection(dataset, model, list(methods) if methods else None, n=n)
    with ProgressBar(console(quiet=quiet, stderr=True)) as bar, listening(bar):
        page = browsing.browse(results, selection, chosen, _options.sign_rule(sign), data, tokenizer)
    write_atomically(out, page)
    echo(f"wrote {out}: {len(page.encode()) / 1e6:,.1f} MB")
