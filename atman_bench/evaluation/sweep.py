"""A sweep: one method at every point of a grid of its options (paper Figs 11, 12, 14, 18 and 19).

Every grid point is a cell of the ordinary store, with the fingerprint that ``atman-bench eval`` gives the same options:
a sweep resumes, finds what evaluations stored, and encodes a sample once for all points.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from atman_bench.core.errors import ConfigError
from atman_bench.core.options import canonical, check_once, identity_options, read_assignment, read_yaml
from atman_bench.evaluation.config import MethodCell, RunConfig, default_methods, resolve
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics import CHOSEN_BY

_WITHOUT_VALUE = {"kappa": "single", "layers": "all"}
"""What tables call null, where it has a name: suppression of single units, and of all layers."""


@dataclass(frozen=True)
class Axis:
    """One axis of a grid.

    Attributes:
        name: The option that varies, or ``setting`` where several vary together.
        settings: Name of each value in tables -> the options that it stands for.
    """

    name: str
    settings: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Point:
    """One point of a grid.

    Attributes:
        place: Name of its value on each axis.
        cell: The method with its options there.
    """

    place: tuple[str, ...]
    cell: MethodCell


@dataclass(frozen=True)
class Sweep:
    """What ``atman-bench sweep`` runs.

    Attributes:
        run: Everything but the grid; its methods are the swept one and the floors.
        method: ``METHOD`` or ``METHOD:VARIANT`` that is swept, one of ``run.methods``.
        axes: The axes of the grid, of at least one value each.
    """

    run: RunConfig
    method: str
    axes: tuple[Axis, ...]

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """All points, the last axis moving fastest.

        Raises:
            UnknownNameError: The method has no such option.
            ConfigError: A value is impossible, or two points have the same maps.
        """
        points = []
        seen: dict[str, tuple[str, ...]] = {}
        for place, options in self._options_by_place.items():
            (cell,) = replace(self.run, methods=((self.method, options),)).cells
            twin = seen.setdefault(json.dumps(identity_options(cell.options), sort_keys=True), place)
            if twin != place:
                raise ConfigError(
                    f"the grid points {', '.join(twin)} and {', '.join(place)} of {self.method} give the same maps: "
                    "sweep options that change them, each value once"
                )
            points.append(Point(place, cell))
        return tuple(points)

    @cached_property
    def config(self) -> RunConfig:
        """The run whose first cells are the grid points, in their order, and whose last cells are the floors."""
        swept = [(self.method, options) for options in self._options_by_place.values()]
        floors = [(name, options) for name, options in self.run.methods if name != self.method]
        return replace(self.run, methods=(*swept, *floors))

    @property
    def _options_by_place(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Place of each point -> the swept method's options there."""
        placed = {}
        for settings in itertools.product(*(axis.settings.items() for axis in self.axes)):
            options = dict(dict(self.run.methods)[self.method])
            for _, varied in settings:
                options |= varied
            placed[tuple(name for name, _ in settings)] = options
        return placed


def load_sweep(preset: str | None, flags: Mapping[str, Any], overrides: Sequence[str], grid: Sequence[str]) -> Sweep:
    """Merge a YAML file with a ``grid`` of its own, flags, ``--set`` and ``--grid``, and check all of it.

    Args:
        preset: Path of a YAML file, or name of a preset, or None.
        flags: Fields of ``RunConfig`` given on the command line; None means not given.
        overrides: ``a.b.c=value``, the value read as YAML.
        grid: ``methods.METHOD.OPTION=[VALUE, ...]`` or ``methods.METHOD={NAME: {OPTION: VALUE}, ...}``, each replacing
            the same axis of the file or adding one.

    Raises:
        UnknownNameError: A key at any level does not exist.
        ConfigError: There is nothing to sweep, an axis is malformed, or a value is impossible.
    """
    file = {} if preset is None else read_yaml(preset)
    listed = file.pop("grid", None) or {}
    if not isinstance(listed, Mapping):
        raise ConfigError(f"grid must hold axes as 'methods.METHOD.OPTION: [VALUE, ...]', received {listed!r}")
    assigned = [read_assignment("--grid", text, "methods.atman.kappa=[null, 0.7]") for text in grid]
    check_once("--grid", [path for path, _ in assigned])
    given = dict(assigned)
    method, axes = _axes({str(path): values for path, values in listed.items()} | given)
    run = resolve(file, {**flags, "methods": [method]}, overrides)
    if CHOSEN_BY not in run.metric_names:
        raise ConfigError(f"a sweep chooses by {CHOSEN_BY}: add it to metrics, received {run.metric_names}")
    floors = sorted(set(FLOORS.names).intersection(default_methods(run.modality)) - {method})
    sweep = Sweep(replace(run, methods=(*run.methods, *((name, {}) for name in floors))), method, axes)
    # Resolving now makes an impossible value fail before a model is loaded.
    _ = sweep.points
    return sweep


def _axes(listed: Mapping[str, Any]) -> tuple[str, tuple[Axis, ...]]:
    """The swept method and its axes."""
    axes: list[Axis] = []
    methods: list[str] = []
    for path, values in listed.items():
        root, _, rest = path.partition(".")
        # A variant's name may contain dots, an option's never does.
        method, _, option = (rest, "", "setting") if isinstance(values, Mapping) else rest.rpartition(".")
        if root != "methods" or not method:
            raise ConfigError(f"only options of methods can be swept (methods.METHOD.OPTION=[...]), received {path!r}")
        methods.append(canonical(method))
        axes.append(Axis(option, _settings(path, option, values)))
    distinct = dict.fromkeys(methods)
    if len(distinct) != 1:
        received = " and ".join(distinct) or "no grid"
        raise ConfigError(
            f"a sweep varies one method, received {received}: give --grid methods.METHOD.OPTION=[...] "
            "or a --config that has a grid (sweep-kappa-f)"
        )
    return methods[0], tuple(axes)


def _settings(path: str, option: str, values: Any) -> dict[str, dict[str, Any]]:
    if isinstance(values, Mapping):
        settings = {str(name): options if options is not None else {} for name, options in values.items()}
        if wrong := [name for name, options in settings.items() if not isinstance(options, Mapping)]:
            raise ConfigError(f"{path}.{wrong[0]} must hold options as 'name: value', received {settings[wrong[0]]!r}")
    elif isinstance(values, list):
        settings = {_name(option, value): {option: value} for value in values}
        if len(settings) < len(values):
            raise ConfigError(f"{path} lists a value twice: {values}")
    else:
        raise ConfigError(f"{path} must be a list of values, received {values!r}; write it as [a, b]")
    if not settings:
        raise ConfigError(f"{path} has no values to sweep over")
    return settings


def _name(option: str, value: Any) -> str:
    """What tables call a value: ``single`` for kappa = null, ``0-5`` for a window of layers."""
    if value is None:
        return _WITHOUT_VALUE.get(option, "none")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        first = value[0] if value and isinstance(value[0], int) else 0
        if len(value) > 1 and value == list(range(first, first + len(value))):
            return f"{first}-{value[-1]}"
        return ",".join(map(str, value)) or "none"
    return str(value)
