"""A model by its name."""

from atman_bench.core.errors import ConfigError
from atman_bench.models import MODELS
from atman_bench.models._base import LoadOptions, ModelAdapter


def load(name: str, options: LoadOptions) -> ModelAdapter:
    """Load ``FAMILY`` or ``FAMILY:ARGUMENT`` (``tiny-text``, ``hf:ID_OR_FOLDER``).

    Raises:
        UnknownNameError: No such family.
        ConfigError: The device holds no numbers.
        ModelError: It cannot be loaded, or edits cannot be installed in it.
    """
    if options.device is not None and options.device.partition(":")[0] == "meta":
        raise ConfigError("device meta holds no numbers: nothing can be computed there; leave the device out")
    family, _, argument = name.partition(":")
    return MODELS.get(family).load(argument, options)
