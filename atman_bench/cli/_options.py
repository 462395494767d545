"""Options that several commands share, each written once. None means not given: the configuration decides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from atman_bench.metrics._signs import Sign
    from atman_bench.report.figure_files import FigureFormat

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="NAME or NAME:ARGUMENT, such as tiny-text or hf:FOLDER.")
]
Device = Annotated[str | None, typer.Option("--device", help="A torch device; CUDA where there is one.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, float16 or bfloat16.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the choice of samples and of stochastic methods.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any option, such as methods.atman.kappa=0.5; may be repeated."),
]
Method = Annotated[str, typer.Option("--method", help="One of atman-bench list methods.")]
MethodOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the method, such as f=0.5; may be repeated."),
]
JsonPath = Annotated[
    str | None, typer.Option("--json", metavar="PATH|-", help="Write scores as JSON; - prints only that.")
]
Results = Annotated[Path | None, typer.Option("--results", "-r", help="The results folder; a run there is resumed.")]
TrustCheckpoint = Annotated[
    bool | None, typer.Option("--trust-checkpoint", help="Read pickled weights, which can run code.")
]
TrustRemoteCode = Annotated[
    bool | None, typer.Option("--trust-remote-code", help="Run code that comes with a checkpoint.")
]

Dataset = Annotated[str | None, typer.Option("--dataset", "-d", help="Name of a dataset; default: facts.")]
Data = Annotated[str | None, typer.Option("--data", help="Path or hub id that the dataset reads.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", help="How many samples; default: all.")]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", help="Skip and count longer samples (prompt and target).")
]
Named = Annotated[
    int | None,
    typer.Option("--named", help="Only samples whose target is among the model's N likeliest names."),
]
SignRule = Annotated[str | None, typer.Option("--sign", help="How signed scores become a map; default: positive.")]
FigureFormats = Annotated[
    str | None,
    typer.Option("--figure-format", metavar="FORMATS", help="What figures are written as: png, svg or both by commas."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, how long it takes and how much memory.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")]


def names(listed: str | None) -> list[str] | None:
    """``"a, b"`` -> ``["a", "b"]``."""
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def figure_formats(listed: str | None) -> tuple["FigureFormat", ...]:
    """``"png,svg"`` -> the formats, each once; PNG alone where nothing is given.

    Raises:
        UnknownNameError: There is no such format, or none is given.
    """
    from atman_bench.core.errors import UnknownNameError
    from atman_bench.report.figure_files import FigureFormat

    listed = "png" if listed is None else listed
    try:
        return tuple(dict.fromkeys(FigureFormat(name.strip().lower()) for name in listed.split(",")))
    except ValueError:
        raise UnknownNameError("figure format", listed, [kind.value for kind in FigureFormat]) from None


def sign_rule(name: str) -> "Sign":
    """The sign rule of a name.

    Raises:
        UnknownNameError: There is none.
    """
    from atman_bench.core.errors import UnknownNameError
    from atman_bench.metrics._signs import Sign

    try:
        return Sign(name)
    except ValueError:
        raise UnknownNameError("sign rule", name, [sign.value for sign in Sign]) from None
