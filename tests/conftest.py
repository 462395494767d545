"""Fixtures that several files of tests share."""

import pytest
from fakes import Fakes


@pytest.fixture
def fakes(monkeypatch):
    fakes = Fakes()
    fakes.install(monkeypatch.setitem, monkeypatch.setattr)
    return fakes
