"""A registry is a package whose public modules are its entries: the file name is the key, imported when asked for."""

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Generic, TypeVar

from atman_bench.core.errors import UnknownNameError

Spec = TypeVar("Spec")


class Registry(Generic[Spec]):
    """The entries of one package; a module whose name has no leading underscore defines ``SPEC``.

    Listing the names reads the folder and imports nothing, so that ``--help`` stays fast.

    Args:
        kind: What an entry is called in messages ("method").
        package: Dotted name of the package that holds the entries.
        folder: Folder of that package.
        parts: Registries of sub-packages whose entries are entries of this one too.
    """

    def __init__(self, kind: str, package: str, folder: Path, parts: Sequence["Registry[Spec]"] = ()):
        self.kind = kind
        self._package = package
        self._folder = folder
        self._parts = tuple(parts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sorted names of the entries, as users write them (hyphens for underscores is accepted by ``get``)."""
        own = (path.stem for path in self._folder.glob("[!_]*.py"))
        return tuple(sorted([*own, *(name for part in self._parts for name in part.names)]))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.replace("-", "_") in self.names

    def get(self, name: str) -> Spec:
        """Import an entry and return its ``SPEC``.

        Raises:
            UnknownNameError: No module of that name; the message lists valid names and near misses.
        """
        key = name.replace("-", "_")
        for part in self._parts:
            if key in part:
                return part.get(key)
        if key not in self.names:
            raise UnknownNameError(self.kind, name, self.names)
        return import_module(f"{self._package}.{key}").SPEC
