"""Fixtures that several files of tests share."""

from collections.abc import Iterator

import pytest
import torch
from fakes import Fakes


@pytest.fixture
def fakes(monkeypatch):
    fakes = Fakes()
    fakes.install(monkeypatch.setitem, monkeypatch.setattr)
    return fakes


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What every worker has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
