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


def method_options(overrides: Sequence[str] | None, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options of each method from ``--set f=0.5`` (of all that have it) and ``--set methods.NAME.f=0.5``.

    Raises:
        ConfigError: One is no such pair.
        UnknownNameError: No method has the option, or it is of a method that is not asked for.
    """
    from dataclasses import fields

    from atman_bench.core.errors import UnknownNameError
    from atman_bench.core.options import canonical
    from atman_bench.methods import METHODS

    given = read_overrides(overrides)
    valid = {name: {f.name for f in fields(METHODS.get(name).config) if f.init} for name in methods}
    chosen: dict[str, dict[str, Any]] = {name: {} for name in methods}
    for path, value in given.items():
        root, _, rest = path.partition(".")
        name, _, option = rest.rpartition(".")
        if root == "methods" and rest:
            having = [one for one in methods if canonical(one) == canonical(name)]
            if not having:
                raise UnknownNameError("method among those asked for", name, methods)
        else:
            option = path
            having = [one for one in methods if option in valid[one]]
        if not having or any(option not in valid[one] for one in having):
            raise UnknownNameError(f"option of {', '.join(methods)}", option, set().union(*valid.values()))
        for one in having:
            chosen[one][option] = value
    return chosen


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
