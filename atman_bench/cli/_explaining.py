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


def method_options(overrides: Sequence[str] | None, methods: Sequence[str | None]) -> dict[str | None, dict[str, Any]]:
    """Options of each method from ``--set f=0.5`` (of all that have it) and ``--set methods.NAME.f=0.5``.

    Args:
        overrides: As they were written.
        methods: The methods asked for; None is AtMan, exact or in two stages, as ``explain`` chooses.

    Raises:
        ConfigError: One is no such pair.
        UnknownNameError: No method has the option, or it is of a method that is not asked for.
    """
    from dataclasses import fields

    from atman_bench.core.errors import UnknownNameError
    from atman_bench.core.options import canonical
    from atman_bench.methods import METHODS

    configs = {name: METHODS.get(name or "adaptive").config for name in methods}  # which has all options of atman
    valid = {name: {f.name for f in fields(config) if f.init} for name, config in configs.items()}
    names = {name: canonical(name or "atman") for name in methods}
    chosen: dict[str | None, dict[str, Any]] = {name: {} for name in methods}
    for path, value in read_overrides(overrides).items():
        root, _, rest = path.partition(".")
        of_method, _, option = rest.rpartition(".")
        if root == "methods" and rest:
            having = [name for name in methods if names[name] == canonical(of_method)]
            if not having:
                raise UnknownNameError("method among those asked for", of_method, names.values())
        else:
            option = path
            having = [name for name in methods if option in valid[name]]
        if not having or any(option not in valid[name] for name in having):
            raise UnknownNameError(f"option of {', '.join(names.values())}", option, set().union(*valid.values()))
        for name in having:
            chosen[name][option] = value
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
