"""What the commands that put one text to one model share: loading it, reading options, writing files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from atman_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from atman_bench.models._base import ModelAdapter

STDOUT = "-"
"""Given as a path, it means standard output and nothing else there."""


def load_probed(flags: Mapping[str, Any], default: str = "tiny-text") -> "ModelAdapter":
    """Load a model and check that its attention can be edited.

    Args:
        flags: The model and how to load it, as far as given: fields of ``RunConfig``.
        default: The model if none is given.

    Raises:
        UnknownNameError: No such family.
        ModelError: It cannot be loaded, or edits do not work in it.
    """
    import atman_bench

    options = dict(flags)
    loaded = atman_bench.load_model(options.pop("model", default), **options)
    loaded.probe()
    return loaded


def read_overrides(overrides: Sequence[str] | None) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs, the values as YAML.

    Raises:
        ConfigError: One is no such pair.
    """
    from atman_bench.core.options import read_assignment

    return dict(read_assignment("--set", override, "f=0.5") for override in overrides or ())


@contextmanager
def writing() -> Iterator[None]:
    """Turn a failure to write a file into one line.

    Raises:
        ConfigError: A file inside the block cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write {error.filename}: {error.strerror}; give a file in a folder that exists and is writable"
        ) from error
