"""What the commands that put one text to one model share: loading it, reading options, writing files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from atman_bench.core.errors import ConfigError

if TYPE_CHECKING:
    from atman_bench.models._base import ModelAdapter

STDOUT = "-"
"""Given as a path, it means standard output and nothing else there."""


def load_probed(
    model: str | None,
    device: str | None,
    dtype: str | None,
    trust_checkpoint: bool | None,
    trust_remote_code: bool | None,
) -> "ModelAdapter":
    """Load a model, the embedded one by default, and check that its attention can be edited.

    Raises:
        UnknownNameError: No such family.
        ModelError: It cannot be loaded, or edits do not work in it.
    """
    import atman_bench

    loaded = atman_bench.load_model(
        model or "tiny-text",
        device=device,
        dtype=dtype or "float32",
        trust_checkpoint=bool(trust_checkpoint),
        trust_remote_code=bool(trust_remote_code),
    )
    loaded.probe()
    return loaded


def read_overrides(overrides: Sequence[str] | None) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs, the values as YAML.

    Raises:
        ConfigError: One is no such pair.
    """
    import yaml

    options: dict[str, Any] = {}
    for override in overrides or ():
        name, equals, text = override.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set takes NAME=VALUE (f=0.5), received {override!r}")
        try:
            options[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {name}: {text!r} is not a valid YAML value") from error
    return options


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
