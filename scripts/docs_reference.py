"""Reference pages that are made from the code: commands, methods, datasets, models, metrics, configurations, Python."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import atman_bench
from atman_bench.core.options import PRESETS, options_of
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.config import RunConfig
from atman_bench.methods import METHODS
from atman_bench.metrics import METRICS, _ranking, _signs, faithfulness
from atman_bench.models import MODELS

REPOSITORY = "https://github.com/atman-bench/atman-bench/blob/main"
UNITS, TARGETS = 100, 3
"""The sample whose forward passes the page of methods gives."""


def pages() -> dict[str, str]:
    """Path in ``docs/`` -> Markdown."""
    return {
        "reference/cli.md": commands(),
        "reference/methods.md": methods(),
        "reference/datasets.md": datasets(),
        "reference/models.md": models(),
        "reference/metrics.md": metrics(),
        "reference/configuration.md": configuration(),
        "reference/api.md": python(),
    }


def commands() -> str:
    """Every command with its arguments and options, by Typer's own writer."""
    written = subprocess.run(
        [sys.executable, "-m", "typer", "atman_bench.cli.app", "utils", "docs", "--name", "atman-bench"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    _, _, commands = written.partition("\n")
    # Typer cuts these lists short, and the page has a table of contents.
    commands = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", "", commands)
    return f"# Command line\n\n`atman-bench COMMAND --help` says the same in a terminal.\n{commands}"


def methods() -> str:
    """Every method: what it does and after whom, its options and variants, what it costs, where it is defined."""
    return _page(
        "Methods",
        "`--methods NAME` or `NAME:VARIANT`, options by `--set methods.NAME.OPTION=VALUE`. *Forward passes* is an "
        f"upper bound for {UNITS} units and {TARGETS} target tokens, as `--dry-run` has it. A method that is *by name "
        "only* is left out of runs that name no methods.",
        (_method(name) for name in METHODS.names),
    )


def _method(name: str) -> Iterator[str]:
    spec = METHODS.get(name)
    module = _module(spec)
    kinds = " and ".join(sorted(f"{kind.value}s" for kind in spec.modalities))
    facts = [
        f"for {kinds}",
        f"{spec.forwards(UNITS, TARGETS, spec.config()):,.0f} forward passes",
        f"version {spec.version}",
        *(["depends on the seed"] if spec.stochastic else []),
        *([] if spec.default else ["by name only"]),
    ]
    yield f"## {name}"
    yield _prose(module.__doc__ or spec.summary)
    yield f"*{'; '.join(facts)}.* {_source(module)}"
    yield from _options(spec.config)
    if spec.variants:
        rows = [(f"`{name}:{variant}`", _settings(options)) for variant, options in spec.variants.items()]
        yield _table(("variant", "options"), rows)


def datasets() -> str:
    """Every dataset with its options."""
    return _page(
        "Datasets",
        "`--dataset NAME`, options by `--set datasets.NAME.OPTION=VALUE`. Nothing but what is generated comes with the "
        "package: give your copy with `--data`.",
        (_dataset(name) for name in DATASETS.names),
    )


def _dataset(name: str) -> Iterator[str]:
    spec = DATASETS.get(name)
    module = _module(spec)
    yield f"## {name}"
    yield _prose(module.__doc__ or spec.summary)
    yield f"*{spec.modality.value}s.* {_source(module)}"
    yield from _options(spec.config)


def models() -> str:
    """Every family of models."""
    return _page("Models", "`--model NAME` or `NAME:ARGUMENT`.", (_model(name) for name in MODELS.names))


def _model(name: str) -> Iterator[str]:
    spec = MODELS.get(name)
    module = _module(spec)
    written = name.replace("_", "-")
    yield f"## {written}"
    yield f"`{written}:{spec.argument}`: {_prose(spec.summary)}" if spec.argument else _prose(spec.summary)
    yield _prose(module.__doc__)
    yield _source(module)


def metrics() -> str:
    """Every metric of a map with its formula; score transforms; measures of faithfulness."""
    measures = re.findall(r"^``(\w+)``  ", faithfulness.__doc__ or "", re.MULTILINE)
    return _page(
        "Metrics",
        "x (U,) is a map: the scores of U units after the score transform. y (U,) says which share of each is "
        "evidence. Tables show 100 times the mean over samples.",
        (
            *(_metric(name) for name in METRICS.names),
            _shared("Recovery at q %", _ranking.recovery),
            ("## Score transforms", f"```text\n{inspect.getdoc(_signs.Sign)}\n```"),
            ("## Faithfulness", f"```text\n{inspect.getdoc(faithfulness)}\n```"),
            *(_shared(name, getattr(faithfulness, name), level=3) for name in measures),
        ),
    )


def _metric(name: str) -> Iterator[str]:
    spec = METRICS.get(name)
    facts = [
        f"column {spec.heading or spec.column}",
        "higher is better" if spec.higher_is_better else "lower is better",
        *([] if spec.by_default else ["computed where it is named (`--metrics`)"]),
    ]
    yield f"## {name}"
    yield _prose(spec.summary)
    yield _prose(_described(spec.function))
    yield f"*{'; '.join(facts)}.* {_source(_module(spec))}"


def _shared(title: str, function: Callable[..., Any], level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} {title}"
    yield _prose(_described(function))


def configuration() -> str:
    """What a configuration file may hold, and the presets."""
    presets = [
        (f"`{path.stem}`", _prose(path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")))
        for path in sorted(PRESETS.glob("*.yaml"))
    ]
    return _page(
        "Configuration files",
        "`--config FILE` or `--config PRESET`: YAML with these keys at the top. Flags and `--set` win over it.",
        (
            ("## Keys", *_options(RunConfig)),
            ("## Presets", _table(("preset", "what it is"), presets), "Those of costs are in `configs/scale/`."),
        ),
    )


def python() -> str:
    """The public names of the package, rendered by mkdocstrings."""
    public = [getattr(atman_bench, name) for name in sorted(atman_bench.__all__)]
    return _page(
        "Python",
        "`import atman_bench`: everything below is a name of the package. Whatever else can be imported may change.",
        ((f"::: {member.__module__}.{member.__qualname__}",) for member in public),
    )


def _page(title: str, text: str, sections: Iterable[Iterable[str]]) -> str:
    return "\n\n".join([f"# {title}", text, *(part for section in sections for part in section if part)]) + "\n"


def _options(config: type[Any]) -> Iterator[str]:
    rows = [
        (f"`{option.name}`", _cell(option.type), f"`{option.default}`" if option.default else "", _cell(option.doc))
        for option in options_of(config)
    ]
    if rows:
        yield _table(("option", "type", "default", "what it does"), rows)


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"`{option}={value}`" for option, value in options.items()) or "the defaults"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|").replace("\n", " ")


def _described(function: Callable[..., Any]) -> str:
    """A docstring without its lists of arguments and errors."""
    return re.split(r"\n\n(?:Args|Returns|Raises|Example):\n", inspect.getdoc(function) or "")[0]


def _prose(text: str | None) -> str:
    """A docstring as Markdown: outside of code nothing is HTML."""
    parts = re.split(r"(``?[^`]+``?)", (text or "").strip())
    parts[::2] = (part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2])
    return "".join(parts)


def _module(spec: Any) -> ModuleType:
    """The module that defines a specification."""
    ours = (module for name, module in list(sys.modules.items()) if name.startswith("atman_bench."))
    return next(module for module in ours if getattr(module, "SPEC", None) is spec)


def _source(module: ModuleType) -> str:
    path = f"{module.__name__.replace('.', '/')}.py"
    return f"Source: [{path}]({REPOSITORY}/{path})."
