"""What a run is: defaults, a YAML file, flags and ``--set``, in rising precedence, all checked before anything runs.

``build`` turns any mapping into any config dataclass of the project; the dataclass's annotations are the schema.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from atman_bench.datasets import DATASETS
from atman_bench.datasets._base import Modality
from atman_bench.errors import ConfigError, UnknownNameError
from atman_bench.methods import METHODS
from atman_bench.methods._base import MethodSpec
from atman_bench.metrics import METRICS
from atman_bench.metrics._signs import Sign

PRESETS = Path(__file__).parents[1] / "configs"
"""Where ``--config NAME`` is looked up after the path NAME itself."""

Config = TypeVar("Config")


DEFAULT_MODELS = {Modality.TEXT: "tiny-text", Modality.IMAGE: "tiny-magma"}
"""The embedded model that a run takes unless it is told otherwise."""


def default_methods(modality: Modality) -> tuple[str, ...]:
    """What a run evaluates unless it is told otherwise: all methods that are defined for its kind of samples."""
    specs = {name: METHODS.get(name) for name in METHODS.names}
    chosen = [name for name, spec in specs.items() if modality in spec.modalities]
    if modality is Modality.IMAGE:
        chosen += [f"{name}:{variant}" for name in chosen for variant in specs[name].image_variants]
    return tuple(sorted(chosen))


class Dtype(StrEnum):
    """Type of a model's weights and activations; losses are always computed in float32."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class MethodCell:
    """A method with resolved options.

    Attributes:
        method: Name of the method.
        spec: What its file defines.
        options: An instance of ``spec.config``.
        variant: What rows and tables call these options, ``spec.label(options)``.
    """

    method: str
    spec: MethodSpec
    options: Any
    variant: str


@dataclass(frozen=True)
class RunConfig:
    """Everything that ``atman-bench eval`` can be told.

    Attributes:
        model: ``NAME`` or ``NAME:ARGUMENT`` (``hf:FOLDER``); None means the embedded one for the dataset.
        dataset: Name of a dataset.
        data: Path or hub id that the dataset reads, or None for its own.
        methods: ``METHOD`` or ``METHOD:VARIANT`` -> options that differ from it; none named means all that apply.
        datasets: Dataset -> options.
        metrics: Which metrics; none named means all.
        sign: How signed scores become a map, the same for every method.
        seed: Seed of the choice of samples and of stochastic methods.
        limit: How many usable samples, or None for all.
        named: Only samples whose target is among this many names that the model finds likeliest, of all that the
            dataset has; the others are skipped and counted. None takes all.
        max_tokens: Longer samples (prompt + target) are skipped and counted; None means the model's own window.
        dtype: Type of the weights.
        device: A torch device, or None for CUDA where there is one.
        device_map: How transformers spreads a large model (``auto``).
        revision: Hub revision of the model.
        trust_remote_code: Run code that comes with a checkpoint.
        trust_checkpoint: Read pickled weights.
        results: The results folder.
    """

    model: str | None = None
    dataset: str = "facts"
    data: str | None = None
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    sign: Sign = Sign.POSITIVE
    seed: int = 0
    limit: int | None = None
    named: int | None = None
    max_tokens: int | None = None
    dtype: Dtype = Dtype.FLOAT32
    device: str | None = None
    device_map: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    trust_checkpoint: bool = False
    results: Path = Path("results")

    def __post_init__(self) -> None:
        """Refuse impossible limits.

        Raises:
            ConfigError: See above.
        """
        for name in ("limit", "named", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, received {value}; leave it out for no limit")

    @property
    def modality(self) -> Modality:
        """What the dataset's samples explain."""
        return DATASETS.get(self.dataset).modality

    @property
    def model_name(self) -> str:
        """The model, the embedded one where none is named."""
        return self.model or DEFAULT_MODELS[self.modality]

    @cached_property
    def cells(self) -> tuple[MethodCell, ...]:
        """The methods with their options; two names for the same options give one cell.

        Raises:
            UnknownNameError: A method, variant or option does not exist.
            ConfigError: An option has the wrong type or an impossible value.
        """
        distinct: dict[tuple[str, Any], MethodCell] = {}
        for key, overrides in (self.methods or {name: {} for name in default_methods(self.modality)}).items():
            method, _, variant = canonical(key).partition(":")
            spec = METHODS.get(method)
            if variant and variant not in spec.variants:
                raise UnknownNameError(f"variant of {method}", variant, spec.variants)
            named = spec.variants[variant] if variant else {}
            options = build(spec.config, {**named, **overrides}, f"methods.{key}")
            distinct.setdefault((method, repr(options)), MethodCell(method, spec, options, spec.label(options)))
        return tuple(distinct.values())

    @cached_property
    def dataset_options(self) -> Any:
        """The resolved options of the chosen dataset; those of the others are checked too.

        Raises:
            UnknownNameError: A dataset or option does not exist.
            ConfigError: An option has the wrong type or an impossible value.
        """
        chosen = {self.dataset: {}, **self.datasets}
        if self.data is not None:
            chosen[self.dataset] = {**chosen[self.dataset], "data": self.data}
        built = {name: build(DATASETS.get(name).config, chosen[name], f"datasets.{name}") for name in chosen}
        return built[self.dataset]

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The chosen metrics, all of them where none is named.

        Raises:
            UnknownNameError: A metric does not exist.
        """
        for name in self.metrics:
            METRICS.get(name)
        return tuple(canonical(name) for name in self.metrics) or METRICS.names


def load_config(preset: str | None, flags: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """Merge YAML, then flags, then ``--set`` onto the defaults, and check all of it.

    Args:
        preset: Path of a YAML file, or name of a preset, or None.
        flags: Fields of ``RunConfig`` given on the command line; None means not given.
        overrides: ``a.b.c=value``, the value read as YAML.

    Raises:
        UnknownNameError: A key at any level does not exist; the message names near misses.
        ConfigError: The file is missing or malformed, or a value has the wrong type.
    """
    return resolve(read_yaml(preset) if preset else {}, flags, overrides)


def resolve(file: Mapping[str, Any], flags: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """``load_config`` after the file is read.

    Raises:
        UnknownNameError: See ``load_config``.
        ConfigError: See ``load_config``.
    """
    tree = dict(file)
    listed = _options_by_name(tree.get("methods"), "methods")
    if flags.get("methods") is not None:
        # Options from the file stay with the methods that the flag keeps.
        chosen = _options_by_name(flags["methods"], "--methods")
        listed = {name: {**listed.get(name, {}), **options} for name, options in chosen.items()}
    tree |= {key: value for key, value in flags.items() if value is not None}
    dataset = canonical(str(tree.get("dataset", RunConfig.dataset)))
    tree["methods"] = listed or {name: {} for name in default_methods(DATASETS.get(dataset).modality)}
    tree["datasets"] = _options_by_name(tree.get("datasets"), "datasets")
    for override in overrides:
        _apply(tree, override)
    if isinstance(tree.get("dataset"), str):
        tree["dataset"] = canonical(tree["dataset"])
    config = build(RunConfig, tree)
    # Resolving now makes a misspelt option fail before a model is loaded.
    _ = config.cells, config.dataset_options, config.metric_names
    return config


def build(config_type: type[Config], mapping: Mapping[str, Any], where: str = "") -> Config:
    """Make a config dataclass from a mapping, checking every key and value against its annotations.

    An ``int`` is accepted for a ``float``, a list for a ``tuple``, and an enum's value for an enum.

    Args:
        config_type: A dataclass.
        mapping: Values of some or all of its fields.
        where: What messages call the place that the mapping came from (``methods.atman``); empty for the top.

    Raises:
        UnknownNameError: A key that is no field.
        ConfigError: A value of the wrong type, or a missing field without a default.
    """
    accepted = {f.name: f for f in fields(config_type) if f.init}  # type: ignore[arg-type]  # a dataclass by contract
    hints = get_type_hints(config_type)
    values = {}
    for key, value in mapping.items():
        if key not in accepted:
            raise UnknownNameError(f"option of {where}" if where else "option", str(key), accepted)
        values[key] = _coerce(value, hints[key], f"{where}.{key}" if where else key)
    missing = [n for n, f in accepted.items() if n not in values and f.default is f.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{where or 'the configuration'} needs a value for {', '.join(missing)}")
    return config_type(**values)


@dataclass(frozen=True)
class Option:
    """One option of a config dataclass, for ``atman-bench list``."""

    name: str
    type: str
    default: str
    doc: str


def options_of(config_type: type[Any]) -> tuple[Option, ...]:
    """The options of a config dataclass, documented by the ``Attributes:`` sections of it and what it extends."""
    docs: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        docs |= _attribute_docs(base.__doc__ or "")
    hints = get_type_hints(config_type)
    return tuple(
        Option(f.name, _type_name(hints[f.name]), _default_text(f.default), docs.get(f.name, ""))
        for f in fields(config_type)
        if f.init
    )


def _coerce(value: Any, expected: Any, where: str) -> Any:
    """Return ``value`` as ``expected``, or raise ConfigError naming ``where``."""
    origin, arguments = get_origin(expected), get_args(expected)
    mismatch = ConfigError(f"{where} must be {_type_name(expected)}, received {value!r}")
    if expected is Any:
        return value
    if origin in (Union, UnionType):
        return _coerce_union(value, arguments, where, mismatch)
    if origin is Literal:
        if value not in arguments:
            raise UnknownNameError(f"value of {where}", str(value), map(str, arguments))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{mismatch}; write it as [a, b]")
        return tuple(_coerce(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (Mapping, dict) or expected is dict:
        if not isinstance(value, Mapping):
            raise mismatch
        return {str(k): _coerce(v, arguments[1] if arguments else Any, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(expected):
        if not isinstance(value, Mapping):
            raise mismatch
        return build(expected, value, where)  # type: ignore[arg-type]  # is_dataclass cannot tell class from instance
    if isinstance(expected, type) and issubclass(expected, Enum):
        try:
            return expected(value)
        except ValueError:
            raise UnknownNameError(f"value of {where}", str(value), (str(e.value) for e in expected)) from None
    if expected is Path and isinstance(value, str | Path):
        return Path(value)
    if expected is float:
        return _coerce_float(value, mismatch)
    # bool is a subclass of int, and no option means 1 when it says true.
    if isinstance(value, bool) != (expected is bool) or not isinstance(value, expected):
        raise mismatch
    return value


def _coerce_union(value: Any, members: tuple[Any, ...], where: str, mismatch: ConfigError) -> Any:
    others = [member for member in members if member is not NoneType]
    # YAML's word is null, but Python's and the tables' is None; where text is allowed it may be meant as text.
    null = value is None or (isinstance(value, str) and value.lower() == "none" and str not in others)
    if null and NoneType in members:
        return None
    if len(others) == 1:
        try:
            return _coerce(value, others[0], where)
        except UnknownNameError:
            raise
        except ConfigError:
            raise mismatch from None
    for member in others:
        try:
            return _coerce(value, member, where)
        except (ConfigError, UnknownNameError):
            continue
    raise mismatch


def _coerce_float(value: Any, mismatch: ConfigError) -> float:
    # YAML 1.1 reads 1e-3, without a dot, as text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise mismatch
    try:
        number = float(value)
    except ValueError:
        raise mismatch from None
    if not math.isfinite(number):
        raise mismatch
    return number


def _type_name(expected: Any) -> str:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(a) for a in sorted(arguments, key=lambda a: a is NoneType))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        return f"a list, each {_type_name(arguments[0])}"
    if expected is NoneType:
        return "null"
    if isinstance(expected, type) and issubclass(expected, Enum):
        return " | ".join(str(e.value) for e in expected)
    return {str: "text", int: "an integer", float: "a number", bool: "true or false", Path: "a path"}.get(
        expected, getattr(expected, "__name__", str(expected))
    )


def _default_text(default: Any) -> str:
    if default is MISSING:
        return ""
    if default is None:
        return "null"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _attribute_docs(docstring: str) -> dict[str, str]:
    """``name -> text`` of a Google docstring's ``Attributes:`` section, continuation lines joined."""
    docs: dict[str, str] = {}
    _, _, section = docstring.partition("Attributes:\n")
    name = None
    for line in section.splitlines():
        entry = re.match(r"^ {4,8}(\w+)(?: \([^)]*\))?: (.*)$", line)
        if entry:
            name, docs[entry[1]] = entry[1], entry[2]
        elif not line.strip():
            break
        elif name is not None:
            docs[name] += " " + line.strip()
    return docs


def read_yaml(preset: str, presets: Path = PRESETS) -> dict[str, Any]:
    """What a configuration file says, unchecked.

    Args:
        preset: Path of a YAML file, or name of a preset.
        presets: Folder of the presets.

    Raises:
        UnknownNameError: No preset of that name.
        ConfigError: The file is missing or malformed.
    """
    path = Path(preset)
    if not path.is_file():
        path = presets / f"{preset}.yaml"
    if not path.is_file():
        if Path(preset).suffix:
            raise ConfigError(f"no configuration file {preset}")
        raise UnknownNameError("preset", preset, (p.stem for p in presets.glob("*.yaml")))
    try:
        tree = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold options as 'name: value', received {type(tree).__name__}")
    return tree


def _options_by_name(listed: Any, where: str) -> dict[str, dict[str, Any]]:
    """Methods or datasets with their options, which may be written as a list of names or with nothing after a name."""
    if listed is None:
        return {}
    if isinstance(listed, list | tuple):
        listed = dict.fromkeys(listed)
    if not isinstance(listed, Mapping):
        raise ConfigError(f"{where} must be names with their options, received {listed!r}")
    named = {}
    for name, options in listed.items():
        if not isinstance(name, str) or not isinstance(options, Mapping | NoneType):
            raise ConfigError(f"{where}.{name} must hold options as 'name: value', received {options!r}")
        named[canonical(name)] = dict(options or {})
    return named


def canonical(name: str) -> str:
    """``integrated-gradients:abs-mean`` -> ``integrated_gradients:abs-mean``: a variant's name is left alone."""
    name, colon, variant = name.partition(":")
    return name.replace("-", "_") + colon + variant


def _apply(tree: dict[str, Any], override: str) -> None:
    """Set one ``a.b.c=value`` in place."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set takes NAME=VALUE (methods.atman.kappa=0.5), received {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {path}: {text!r} is not a valid YAML value") from error
    root, _, rest = path.partition(".")
    if root not in ("methods", "datasets") or not rest:
        if root in {f.name for f in fields(RunConfig)} and rest:
            raise ConfigError(f"--set {path}: {root} is one value, not a group of options")
        tree[path] = value
        return
    # A variant's name may contain dots, an option's never does.
    name, dot, option = rest.rpartition(".")
    if not dot:
        raise ConfigError(f"--set {path} must name an option: {root}.{rest}.OPTION=VALUE")
    name = canonical(name)
    if root == "methods" and name not in tree["methods"]:
        METHODS.get(name.partition(":")[0])
        raise UnknownNameError("method among those that run", name, tree["methods"])
    tree[root].setdefault(name, {})[option] = value
