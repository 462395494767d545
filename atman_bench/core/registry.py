"""A registry is a package whose public modules are its entries: the file name is the key, imported when asked for.

Plug-ins add entries from outside: see ``plugins.py``.
"""

import ast
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.plugins import Group, Plugin, claims, plugins, warn_once

Spec = TypeVar("Spec", covariant=True)


def _names(targets: Sequence[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _modules(folder: Path) -> frozenset[str]:
    return frozenset(path.stem for path in folder.glob("[!_]*.py"))


class Registry(Generic[Spec]):
    """The entries of one package; a module whose name has no leading underscore defines ``SPEC``.

    Listing the names reads the folder and imports nothing, so that ``--help`` stays fast.

    Args:
        kind: What an entry is called in messages ("method").
        package: Dotted name of the package that holds the entries.
        folder: Folder of that package.
        parts: Registries of sub-packages whose entries are entries of this one too.
        group: Of the plug-ins that add entries; None where none can.
        beside: Folder of a registry that this one is a part of: plug-ins cannot take the names of its entries either.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        folder: Path,
        parts: Sequence["Registry[Spec]"] = (),
        group: Group | None = None,
        beside: Path | None = None,
    ):
        self.kind = kind
        self._package = package
        self._folder = folder
        self._parts = tuple(parts)
        self._group = group
        self._beside = beside

    @cached_property
    def _own(self) -> frozenset[str]:
        """Names of the modules in the folder."""
        return _modules(self._folder)

    @cached_property
    def _taken(self) -> frozenset[str]:
        """Names that no plug-in can have, those of parts left out."""
        return self._own if self._beside is None else self._own | _modules(self._beside)

    @property
    def _plugins(self) -> dict[str, Plugin]:
        taken = self._taken.union(*(part.names for part in self._parts))
        return {} if self._group is None else plugins(self._group, taken)

    @property
    def names(self) -> tuple[str, ...]:
        """Sorted names of the entries, as users write them (hyphens for underscores is accepted by ``get``)."""
        return tuple(sorted([*self._own, *(name for part in self._parts for name in part.names), *self._plugins]))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.replace("-", "_") in self.names

    def get(self, name: str) -> Spec:
        """Import an entry and return its ``SPEC``.

        Raises:
            UnknownNameError: No module of that name; the message lists valid names and near misses.
            ConfigError: It is a plug-in that cannot be used.
        """
        key = name.replace("-", "_")
        for part in self._parts:
            if key in part:
                return part.get(key)
        if key in self._own:
            if self._group is not None and claims(self._group, key):
                _ = self._plugins  # says that the plug-in is left out
            return import_module(f"{self._package}.{key}").SPEC
        if plugin := self.plugin(key):
            spec: Spec = plugin.spec
            return spec
        raise UnknownNameError(self.kind, name, self.names)

    def items(self) -> Iterator[tuple[str, Spec]]:
        """Every entry with its name, sorted; a plug-in that cannot be used is named on stderr and left out."""
        for name in self.names:
            try:
                spec = self.get(name)
            except ConfigError as error:
                if self.plugin(name) is None:
                    raise
                warn_once(str(error))
                continue
            yield name, spec

    def described(self, name: str) -> dict[str, Any]:
        """What an entry's file writes down as plain values in ``SPEC``: summary, argument; the file is not imported.

        Of a plug-in, whose file may be anything, it is imported.

        Raises:
            UnknownNameError: See ``get``.
            ConfigError: See ``get``.
        """
        key = name.replace("-", "_")
        for part in self._parts:
            if key in part:
                return part.described(key)
        if key not in self._own:
            spec = self.get(name)
            return {word: getattr(spec, word) for word in ("summary", "argument", "default") if hasattr(spec, word)}
        tree = ast.parse((self._folder / f"{key}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _names(node.targets) == ["SPEC"]:
                words = node.value.keywords
                return {
                    word.arg: word.value.value for word in words if word.arg and isinstance(word.value, ast.Constant)
                }
        return {}

    def plugin(self, name: str) -> Plugin | None:
        """The plug-in that an entry is from; None for one of this package."""
        key = name.replace("-", "_")
        for part in self._parts:
            if key in part:
                return part.plugin(key)
        return self._plugins.get(key)
