"""Entries of registries from outside the package: of installed packages, of files that are included, of Python code.

All three become a ``Plugin``, and a ``Registry`` asks for those of its group. One that is broken is named on stderr and
stops no other.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from atman_bench.core.errors import ConfigError, one_line

_LOG = logging.getLogger(__name__)

VARIABLE = "ATMAN_BENCH_INCLUDE"
"""Environment variable with the included paths, so that processes that a command starts include them too."""

_NO_ENTRIES = ("setup", "conftest")


class Group(StrEnum):
    """What a plug-in can add; the value is the group of its entry points."""

    METHODS = "atman_bench.methods"
    FLOORS = "atman_bench.floors"
    METRICS = "atman_bench.metrics"
    DATASETS = "atman_bench.datasets"
    MODELS = "atman_bench.models"
    FIGURES = "atman_bench.figures"


_GROUP_OF = {
    "MethodSpec": Group.METHODS,
    "FloorSpec": Group.FLOORS,
    "MetricSpec": Group.METRICS,
    "DatasetSpec": Group.DATASETS,
    "ModelSpec": Group.MODELS,
    "FigureSpec": Group.FIGURES,
}
"""By name, so that listing what there is imports none of these classes, and torch with them."""


@dataclass(frozen=True)
class Plugin:
    """An entry of a registry that is no module of this package.

    Attributes:
        group: Of which registry.
        name: The entry's key.
        source: Where it is from, in words (``package attention-peak 0.1``, ``file mine.py``).
        version: What fingerprints of stored results carry: a version with a content hash.
        load: Gives what should be a specification.
    """

    group: Group
    name: str
    source: str
    version: Callable[[], str]
    load: Callable[[], Any]

    @cached_property
    def spec(self) -> Any:
        """The specification.

        Raises:
            ConfigError: It cannot be imported, or is of another kind.
        """
        try:
            found = self.load()
        except Exception as error:  # whatever other people's code raises
            _LOG.debug("%s", self.source, exc_info=True)
            raise ConfigError(f"{self} cannot be used: {type(error).__name__}: {one_line(error)}") from error
        found = getattr(found, "SPEC", None) if isinstance(found, ModuleType) else found
        if _GROUP_OF.get(type(found).__name__) is not self.group:
            expected = next(name for name, group in _GROUP_OF.items() if group is self.group)
            raise ConfigError(f"{self} cannot be used: expected SPEC, a {expected}, received {type(found).__name__}")
        return found

    def __str__(self) -> str:
        return f"plug-in {self.name!r} of {self.source}"


class _Found:
    """What was found so far."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget it."""
        self.__dict__.clear()
        self.included: dict[Path, list[Plugin]] = {}
        self.registered: dict[tuple[Group, str], Plugin] = {}

    @cached_property
    def installed(self) -> list[Plugin]:
        """Of all installed packages; nothing of them is imported."""
        from importlib.metadata import entry_points

        return [_installed(group, entry) for group in Group for entry in entry_points(group=group.value)]


_FOUND = _Found()
_WARNED: set[str] = set()


def plugins(group: Group, taken: Iterable[str]) -> dict[str, Plugin]:
    """The plug-ins of a group by name; a name that is taken is kept by who had it, which is said once.

    Args:
        group: Which registry asks.
        taken: Names of the entries that come with this package.
    """
    owners: dict[str, str] = dict.fromkeys(taken, "atman-bench itself")
    chosen: dict[str, Plugin] = {}
    for plugin in _of_group(group):
        if plugin.name in owners:
            warn_once(f"{plugin} is left out: {plugin.name!r} is already the name of one of {owners[plugin.name]}")
        else:
            owners[plugin.name] = plugin.source
            chosen[plugin.name] = plugin
    return chosen


def claims(group: Group, name: str) -> bool:
    """Whether a plug-in would have a name."""
    return any(plugin.name == name for plugin in _of_group(group))


def _of_group(group: Group) -> list[Plugin]:
    """All plug-ins of a group, those of included files first."""
    for path in os.environ.get(VARIABLE, "").split(os.pathsep):
        if path and Path(path) not in _FOUND.included:
            include([Path(path)])
    of_files = (plugin for several in _FOUND.included.values() for plugin in several)
    found = (*of_files, *_FOUND.registered.values(), *_FOUND.installed)
    return [plugin for plugin in found if plugin.group is group]


def include(paths: Iterable[Path]) -> None:
    """Add what files define as ``SPEC``, each under its file's name; of a folder every file without an underscore.

    Files of one folder may import each other relatively (``from ._helpers import ...``). Processes that are started
    later include the same.

    Args:
        paths: Python files, and folders of them.

    Raises:
        ConfigError: There is no such file or folder. What is broken in it is named, and leaves the others in.
    """
    for given in paths:
        path = given.expanduser().absolute()
        if not (path.is_dir() or (path.is_file() and path.suffix == ".py")):
            raise ConfigError(f"--include {given}: there is no such Python file or folder")
        if path in _FOUND.included:
            continue
        _FOUND.included[path] = []  # before its code runs, which may ask for registries
        _FOUND.included[path] += _in_files(path)
        known = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
        if str(path) not in known:
            os.environ[VARIABLE] = os.pathsep.join([*known, str(path)])


def register(spec: Any, name: str | None = None) -> None:
    """Add a method, floor, metric, dataset, model family or figure to this process, as a file of this package would.

    Args:
        spec: A ``MethodSpec``, ``FloorSpec``, ``MetricSpec``, ``DatasetSpec``, ``ModelSpec`` or ``FigureSpec``.
        name: What it is called; None takes the name of the module that defines its function.

    Raises:
        ConfigError: It is no specification, or nothing names it, or the name is no identifier. Registering a name again
            replaces what was registered; names of other sources are kept by these, which is said.
    """
    group = _GROUP_OF.get(type(spec).__name__)
    if group is None:
        raise ConfigError(f"register takes a specification ({', '.join(_GROUP_OF)}), received {type(spec).__name__}")
    function = _function_of(spec)
    name = (name or function.__module__.rpartition(".")[2]).replace("-", "_")
    if not name.isidentifier() or name.startswith("_"):
        raise ConfigError(f"register needs a name for this entry, received {name!r}: write register(SPEC, 'my_method')")
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    version = partial(_content_hash, Path(file)) if file else partial(_code_hash, function)
    _FOUND.registered[group, name] = Plugin(group, name, "register()", version, lambda: spec)


def included() -> tuple[Path, ...]:
    """The included files and folders, for a process on another machine that has to include them itself."""
    return tuple(_FOUND.included)


def forget() -> None:
    """Leave out all that was included or registered, and look for installed packages anew."""
    os.environ.pop(VARIABLE, None)
    _FOUND.reset()
    _WARNED.clear()


def warn_once(message: str) -> None:
    """Say on stderr what is wrong with a plug-in."""
    if message not in _WARNED:
        _WARNED.add(message)
        _LOG.warning("%s", message)


def _in_files(path: Path) -> Iterator[Plugin]:
    files = [path] if path.is_file() else sorted(path.glob("[!_]*.py"))
    files = [file for file in files if file.stem not in _NO_ENTRIES and not file.stem.startswith("test_")]
    if not files:
        warn_once(f"{path} holds no Python file whose name has no leading underscore: nothing is included from it")
    for file in files:
        try:
            module = _import(file)
        except Exception as error:  # whatever other people's code raises
            _LOG.debug("%s", file, exc_info=True)
            warn_once(f"{file} cannot be included: {type(error).__name__}: {one_line(error)}")
            continue
        kind = type(getattr(module, "SPEC", None)).__name__
        if kind in _GROUP_OF:
            yield Plugin(
                _GROUP_OF[kind], file.stem, f"file {file}", partial(_content_hash, path), partial(_same, module)
            )
        else:
            warn_once(f"{file} cannot be included: it defines no SPEC ({', '.join(_GROUP_OF)})")


def _same(module: ModuleType) -> ModuleType:
    return module


def _import(file: Path) -> ModuleType:
    """Import a file as a module of a package that stands for its folder."""
    package = f"atman_bench_included_{hashlib.sha256(str(file.parent).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        parent = module_from_spec(ModuleSpec(package, None, is_package=True))
        parent.__path__ = [str(file.parent)]
        sys.modules[package] = parent
    name = f"{package}.{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _installed(group: Group, entry: Any) -> Plugin:
    """An entry point; importing it is left for later."""
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module

    def version() -> str:
        file = getattr(sys.modules.get(entry.module), "__file__", None)
        return f"{package} {_content_hash(Path(file).parent)}" if file else package

    return Plugin(group, entry.name.replace("-", "_"), f"package {package}", version, entry.load)


def _function_of(spec: Any) -> Any:
    """What does a specification's work."""
    return next(getattr(spec, name) for name in ("explain", "function", "load", "plot") if hasattr(spec, name))


def _content_hash(path: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a Python file, or of all those directly in a folder."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.py")):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _code_hash(function: Any) -> str:
    """The same of a function that no file holds (a notebook's)."""
    code = getattr(function, "__code__", None)
    if code is None:
        return "unknown"
    return hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:12]
