"""One process that forks commands, and their results without any fault, for all tests of this folder."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import COMMANDS, Ended, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What forks commands."""
    if sys.platform != "linux":
        pytest.skip("limits of files and memory, and what becomes of a process that is killed, are those of Linux")
    made = Nursery()
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
