"""How far a long computation is, told to whoever asked to be told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int, int, str], None]
"""``(steps done, steps to do, what is being done)``."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call a function whenever something inside the block says how far it is."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tell(done: int, total: int, doing: str) -> None:
    """Say how far a computation is; costs nothing where nobody listens."""
    if (listener := _LISTENER.get()) is not None:
        listener(done, total, doing)
