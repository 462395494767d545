"""One process that forks commands, and their results without any fault, for all tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import COMMANDS, Ended, Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery()
    made.run(COMMANDS["eval"], tmp_path_factory.mktemp("warm"))  # fonts and byte code
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The results folder of an uninterrupted run of a command."""
    folders: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name) / "whole"
            ended = nursery.run(COMMANDS[name], folders[name])
            assert ended == Ended(0, "")
        return folders[name]

    return folder_of
