"""What a run is: defaults, a YAML file, flags and ``--set``, in rising precedence, all checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.options import build, canonical, check_once, read_assignment, read_yaml
from atman_bench.core.records import Modality, UnitKind
from atman_bench.datasets import DATASETS
from atman_bench.methods import METHODS
from atman_bench.methods._base import MethodSpec
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics import chosen_metrics
from atman_bench.metrics._signs import Sign
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._load import load

DEFAULT_MODELS = {Modality.TEXT: "tiny-text", Modality.IMAGE: "tiny-magma"}
"""The embedded model that a run takes by default."""


def applicable_methods(modality: Modality) -> tuple[str, ...]:
    """All methods that are defined for a kind of samples, with the variants that images are explained by too."""
    specs = dict(METHODS.items())
    chosen = [name for name, spec in specs.items() if modality in spec.modalities]
    if modality is Modality.IMAGE:
        chosen += [f"{name}:{variant}" for name in chosen for variant in specs[name].image_variants]
    return tuple(sorted(chosen))


def default_methods(modality: Modality) -> tuple[str, ...]:
    """What a run evaluates unless it is told otherwise."""
    return tuple(name for name in applicable_methods(modality) if METHODS.get(name.partition(":")[0]).default)


@dataclass(frozen=True)
class MethodCell:
    """A method with resolved options.

    Attributes:
        name: The method and its variant as the run names them (``atman:lean``).
        method: Name of the method.
        spec: What its file defines.
        options: An instance of ``spec.config``.
        variant: What rows and tables call these options, ``spec.label(options)``.
    """

    name: str
    method: str
    spec: MethodSpec
    options: Any
    variant: str


@dataclass(frozen=True)
class RunConfig(LoadOptions):
    """The options of ``atman-bench eval``, how to load its model included.

    Attributes:
        model: ``NAME`` or ``NAME:ARGUMENT`` (``hf:FOLDER``); None means the embedded one for the dataset.
        dataset: Name of a dataset.
        data: Path or hub id that the dataset reads, or None for its own.
        methods: ``METHOD`` or ``METHOD:VARIANT``, each with the options that differ from it; none means all that apply.
        datasets: Dataset -> options.
        metrics: Which metrics; none named means those that are computed by default.
        sign: How signed scores become a map, the same for every method.
        seed: Seed of the choice of samples and of stochastic methods.
        limit: How many usable samples, or None for all.
        named: Only samples whose target is among this many names that the model finds likeliest, of all that the
            dataset has; the others are skipped and counted. None takes all.
        units: What of a text is explained as one: token, word, sentence, chunk or example (of a few-shot prompt).
        max_tokens: Longer samples (prompt + target) are skipped and counted; None means the model's own window.
        results: The results folder.
    """

    model: str | None = None
    dataset: str = "facts"
    data: str | None = None
    methods: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    sign: Sign = Sign.POSITIVE
    seed: int = 0
    limit: int | None = None
    named: int | None = None
    units: UnitKind = UnitKind.TOKEN
    max_tokens: int | None = None
    results: Path = Path("results")

    def __post_init__(self) -> None:
        """Refuse impossible limits, seeds and units.

        Raises:
            ConfigError: See above.
        """
        for name in ("limit", "named", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, received {value}; leave it out for no limit")
        if self.units is not UnitKind.TOKEN and self.modality is not Modality.TEXT:
            raise ConfigError(f"units: {self.dataset} explains images, which have no {self.units}s; leave units out")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be at least 0 and of 63 bits at most, received {self.seed}")

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
        for key, overrides in self.methods or [(name, {}) for name in default_methods(self.modality)]:
            method, _, variant = canonical(key).partition(":")
            spec = METHODS.get(method)
            if variant and variant not in spec.variants:
                raise UnknownNameError(f"variant of {method}", variant, spec.variants)
            named = spec.variants[variant] if variant else {}
            options = build(spec.config, {**named, **overrides}, f"methods.{key}")
            distinct.setdefault(
                (method, repr(options)), MethodCell(canonical(key), method, spec, options, spec.label(options))
            )
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
        """The chosen metrics; those that are computed by default where none is named.

        Raises:
            UnknownNameError: A metric does not exist.
        """
        return chosen_metrics(self.metrics)


def load_configured(run: RunConfig) -> ModelAdapter:
    """Load the model of a run.

    Raises:
        UnknownNameError: No such family.
        ModelError: It cannot be loaded, or edits cannot be installed in it.
    """
    return load(run.model_name, run)


def load_config(preset: str | None, flags: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """Merge YAML, then flags, then ``--set`` onto the defaults, and check all of it.

    Args:
        preset: Path of a YAML file, or name of a preset, or None.
        flags: Fields of ``RunConfig`` given on the command line; None means not given. ``baselines`` is none of them:
            true adds those that see no model to the methods of a flag.
        overrides: ``a.b.c=value``, the value read as YAML; an option alone (``f=0.5``) is one of the named methods.

    Raises:
        UnknownNameError: A key at any level does not exist; the message names near misses.
        ConfigError: The file is missing or malformed, or a value has the wrong type.
    """
    return resolve({} if preset is None else read_yaml(preset), flags, overrides)


def resolve(file: Mapping[str, Any], flags: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """``load_config`` after the file is read.

    Raises:
        UnknownNameError: See ``load_config``.
        ConfigError: See ``load_config``.
    """
    tree = {**file, **{key: value for key, value in flags.items() if value is not None}}
    assigned = [read_assignment("--set", text, "methods.atman.kappa=0.5") for text in overrides]
    check_once("--set", [path for path, _ in assigned])
    baselines = tree.pop("baselines", False)
    of_run = {f.name for f in fields(RunConfig)}
    of_entries, of_methods = [], []
    for path, value in assigned:
        root, dot, entry = path.partition(".")
        if dot and root in ("methods", "datasets"):
            of_entries.append((root, entry, value))
        elif dot and root in of_run:
            raise ConfigError(f"--set {path}: {root} is one value, not a group of options")
        elif not dot and root not in of_run and tree.get("methods"):
            of_methods.append((path, value))
        else:
            tree[path] = value
    if empty := [name for name, value in tree.items() if value in ("", [], (), {})]:
        raise ConfigError(f"{empty[0]} is empty: give it a value, or leave it out for the default")
    tree["dataset"] = canonical(str(tree.get("dataset", RunConfig.dataset)))
    described = _options_by_name(file.get("methods"), "methods")
    chosen = _options_by_name(tree.get("methods"), "methods")
    # Options from the file stay with the methods that a flag keeps.
    methods = {name: {**described.get(name, {}), **options} for name, options in chosen.items()}
    modality = DATASETS.get(tree["dataset"]).modality
    for option, value in of_methods:
        _assign_to_all(methods, option, value)
    if not methods:
        methods = {name: {} for name in default_methods(modality)}
    elif baselines and flags.get("methods"):
        methods |= {name: {} for name in default_methods(modality) if name in FLOORS and name not in methods}
    datasets = _options_by_name(tree.get("datasets"), "datasets")
    # Last, since the dataset, which may be set too, decides which methods there are.
    for root, entry, value in of_entries:
        _assign(root, {"methods": methods, "datasets": datasets}[root], entry, value)
    config = build(RunConfig, {**tree, "methods": list(methods.items()), "datasets": datasets})
    # Resolving now makes a misspelt option fail before a model is loaded.
    _ = config.cells, config.dataset_options, config.metric_names
    return config


def _options_by_name(listed: Any, where: str) -> dict[str, dict[str, Any]]:
    """Methods or datasets with their options, which may be written as a list of names or with nothing after a name."""
    if listed is None:
        return {}
    if not isinstance(listed, list | tuple | Mapping):
        raise ConfigError(f"{where} must be names with their options, received {listed!r}")
    named = {}
    for name, options in listed.items() if isinstance(listed, Mapping) else ((name, None) for name in listed):
        if not isinstance(name, str) or not isinstance(options, Mapping | NoneType):
            raise ConfigError(f"{where}.{name} must hold options as 'name: value', received {options!r}")
        named[canonical(name)] = dict(options or {})
    return named


def _assign_to_all(methods: dict[str, dict[str, Any]], option: str, value: Any) -> None:
    """Set an option of every named method that has it, in place.

    Raises:
        UnknownNameError: None has it.
    """
    valid: dict[str, set[str]] = {}
    for name in methods:
        config = METHODS.get(name.partition(":")[0]).config
        valid[name] = {f.name for f in fields(config) if f.init}
    having = [name for name, options in valid.items() if option in options]
    if not having:
        raise UnknownNameError(f"option of {', '.join(methods)}", option, set().union(*valid.values()))
    for name in having:
        methods[name][option] = value


def _assign(root: str, entries: dict[str, dict[str, Any]], path: str, value: Any) -> None:
    """Set ``NAME.OPTION`` of the methods or datasets in place."""
    # A variant's name may contain dots, an option's never does.
    name, dot, option = path.rpartition(".")
    if not dot:
        raise ConfigError(f"--set {root}.{path} must name an option: {root}.{path}.OPTION=VALUE")
    name = canonical(name)
    if root == "methods" and name not in entries:
        METHODS.get(name.partition(":")[0])
        raise UnknownNameError("method among those that run", name, entries)
    entries.setdefault(name, {})[option] = value
