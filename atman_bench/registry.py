"""A registry is a package whose public modules are its entries: the file name is the key, imported when asked for."""

from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Generic, TypeVar

from atman_bench.errors import UnknownNameError

Spec = TypeVar("Spec")


class Registry(Generic[Spec]):
    """The entries of one package; a module whose name has no leading underscore defines ``SPEC``.

    Listing the names reads the folder and imports nothing, so that ``--help`` stays fast.

    Args:
        kind: What an entry is called in messages ("method").
        package: Dotted name of the package that holds the entries.
        folder: Folder of that package.
    """

    def __init__(self, kind: str, package: str, folder: Path):
        self.kind = kind
        self._package = package
        self._folder = folder

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sorted names of the entries, as users write them (hyphens for underscores is accepted by ``get``)."""
        return tuple(sorted(p.stem for p in self._folder.glob("*.py") if not p.stem.startswith("_")))

    def get(self, name: str) -> Spec:
        """Import an entry and return its ``SPEC``.

        Raises:
            UnknownNameError: No module of that name; the message lists valid names and near misses.
        """
        key = name.replace("-", "_")
        if key not in self.names:
            raise UnknownNameError(self.kind, name, self.names)
        return import_module(f"{self._package}.{key}").SPEC
