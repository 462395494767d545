"""Options that several commands share, each written once. None means not given: the configuration decides."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atman_bench.core.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from atman_bench.metrics._signs import Sign
    from atman_bench.report.figure_files import FigureFormat


def flags(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options that it hands on to a configuration: it receives those given as one mapping, ``flags``.

    Args:
        options: Field of the configuration -> its annotation. ``--help`` shows them where the command has ``flags``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            together = {name: given.pop(name) for name in options}
            command(flags={name: value for name, value in together.items() if value is not None}, **given)

        parameters: list[Parameter] = []
        for parameter in signature(command).parameters.values():
            if parameter.name == "flags":
                parameters += (
                    Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                    for name, annotation in options.items()
                )
            else:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what all have: --include, --quiet and --verbose.

    A command with a ``quiet`` of its own is told; of the others --quiet takes the remarks on stderr.
    """
    of_command = signature(command).parameters

    @wraps(command)
    def run(*, verbose: bool, include: list[Path] | None, **given: Any) -> None:
        quiet = given["quiet"] if "quiet" in of_command else given.pop("quiet")
        log = logging.getLogger("atman_bench")
        if verbose:
            logging.basicConfig(format="%(name)s: %(message)s")
            log.setLevel(logging.DEBUG)
        before = log.level
        try:
            if quiet and not verbose:
                log.setLevel(logging.ERROR)
            command(**given)
        finally:
            if not verbose:  # who prints tracebacks asks for the level
                log.setLevel(before)

    parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in of_command.values()]
    added = {"quiet": Quiet, "verbose": Verbose, "include": Include}
    parameters += (
        Parameter(name, Parameter.KEYWORD_ONLY, default=None if name == "include" else False, annotation=annotation)
        for name, annotation in added.items()
        if name not in of_command
    )
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def examples(*commands: str) -> str:
    """What stands below a command's options in ``--help``: commands to copy, a line each."""
    return "\n\n".join(("Examples:", *commands))


def _include(paths: list[Path] | None) -> list[Path] | None:
    """Include files before other options are read, which may name what is in them."""
    from atman_bench.core.plugins import include

    include(paths or ())
    return paths


def known_model(name: str | None) -> str | None:
    """Refuse a model that cannot be had before torch is loaded."""
    if name:
        from atman_bench.models._names import check_name

        check_name(name)
    return name


def existing(param: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse a file that is not there before torch is loaded; the callback of an option that takes one.

    Raises:
        DataError: There is none.
    """
    with suppress(OSError, ValueError):  # a name that no file can have: who reads it says so
        if path is not None and not path.exists():
            raise DataError(f"{param.opts[0]} {path}: there is no such file")
    return path


def names(flag: str, listed: str) -> list[str]:
    """``"a, b"`` -> ``["a", "b"]``.

    Raises:
        ConfigError: There is nothing before, between or after commas.
    """
    found = [name.strip() for name in listed.split(",")]
    if not all(found):
        raise ConfigError(f"{flag} takes names by commas, received {listed!r}: an empty one among them")
    return found


def split(param: typer.CallbackParam, listed: str | None) -> list[str] | None:
    """The callback of an option that takes names by commas."""
    return None if listed is None else names(param.opts[0], listed)


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        callback=known_model,
        help="A folder, a hub id, or NAME[:ARGUMENT] of atman-bench list models; default: the embedded one.",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="A torch device; CUDA where there is one.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, float16 or bfloat16.")]
Quantize = Annotated[str | None, typer.Option("--quantize", help="int8: a decoder's linear weights, by torchao.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**63 - 1, help="Seed of the choice of samples and of stochastic methods."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any option: methods.atman.kappa=0.5, or kappa=0.5 for the methods named; may be repeated.",
    ),
]
Method = Annotated[str, typer.Option("--method", help="One of atman-bench list methods.")]
MethodOverrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="An option of the method: f=0.5 or methods.atman.f=0.5; may be repeated."
    ),
]
JsonPath = Annotated[
    str | None, typer.Option("--json", metavar="PATH|-", help="Write scores as JSON; - prints only that.")
]
Results = Annotated[
    Path | None,
    typer.Option("--results", "-r", help="The results folder; default: results. A run there is resumed."),
]
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
Units = Annotated[
    str | None,
    typer.Option("--units", help="What of a text is one unit: token (default), word, sentence, chunk or example."),
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
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", "--debug", help="Show what is logged, and tracebacks of what fails.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks; of a run no table either.")]
Include = Annotated[
    list[Path] | None,
    typer.Option(
        "--include",
        metavar="PATH",
        callback=_include,
        is_eager=True,
        help="A Python file, or a folder of them, with methods, metrics or data of your own; may be repeated.",
    ),
]


Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        callback=split,
        help="METHOD or METHOD:VARIANT, by commas; the baselines that see no model are added. Default: all that apply.",
    ),
]
Baselines = Annotated[
    bool | None,
    typer.Option("--baselines/--no-baselines", help="With --methods: also those that see no model; default: yes."),
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", callback=split, help="Metrics, by commas; default: all but those that list marks."),
]

LOADING = {
    "model": Model,
    "dtype": Dtype,
    "quantize": Quantize,
    "device": Device,
    "trust_checkpoint": TrustCheckpoint,
    "trust_remote_code": TrustRemoteCode,
}
"""Fields of ``RunConfig`` that say which model is loaded, and how."""

Workers = Annotated[
    int | None, typer.Option("--workers", "-w", min=1, help="Run on so many processes of this machine, or Ray actors.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Run on a Ray cluster: the one at HOST:PORT, without an address the one that runs here, else a local one.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker", min=0, help="GPUs of each worker, or a share of one; default: 1 if there are any."
    ),
]
CpusPerWorker = Annotated[
    int | None,
    typer.Option("--cpus-per-worker", min=1, help="CPUs and threads of each worker; default: 1. Sums depend on it."),
]
ItemTimeout = Annotated[
    float | None,
    typer.Option("--item-timeout", help="Seconds that a sample may take before its worker is ended; default: any."),
]

WORKERS = {
    "workers": Workers,
    "ray": Ray,
    "gpus_per_worker": GpusPerWorker,
    "cpus_per_worker": CpusPerWorker,
    "item_timeout": ItemTimeout,
}
"""Fields of ``WorkersConfig``: who does the work."""

SplitPerturbations = Annotated[
    bool | None,
    typer.Option(
        "--split-perturbations",
        help="Workers share the perturbations of each sample (AtMan, occlusion): for few long ones.",
    ),
]

SPLITTING = {"split_perturbations": SplitPerturbations}
"""The field of ``WorkersConfig`` for commands that explain samples."""

RAY_ADDRESSES = ("auto", "local")
"""What may stand behind --ray besides HOST:PORT and ray://HOST:PORT; "auto" where nothing does."""


def with_ray_address(arguments: list[str]) -> list[str]:
    """Write what ``--ray`` stands for where no address follows it."""
    written = []
    for index, argument in enumerate(arguments):
        written.append(argument)
        if argument == "--ray":
            following = arguments[index + 1 : index + 2]
            if not (following and (following[0] in RAY_ADDRESSES or ":" in following[0])):
                written.append("auto")
    return written


SAMPLES = {"dataset": Dataset, "data": Data, "limit": Limit, "seed": Seed, "results": Results}
"""Those that say what it is asked, and where results go."""

SCORING = {"max_tokens": MaxTokens, "named": Named, "sign": SignRule}
"""Those of explanations."""


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
    from atman_bench.metrics._signs import Sign

    try:
        return Sign(name)
    except ValueError:
        raise UnknownNameError("sign rule", name, [sign.value for sign in Sign]) from None
