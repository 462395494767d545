"""A model by its name."""

from atman_bench.models import MODELS
from atman_bench.models._base import LoadOptions, ModelAdapter


def load(name: str, options: LoadOptions) -> ModelAdapter:
    """Load ``FAMILY`` or ``FAMILY:ARGUMENT`` (``tiny-text``, ``hf:ID_OR_FOLDER``).

    Raises:
        UnknownNameError: No such family.
        ModelError: It cannot be loaded, or edits cannot be installed in it.
    """
    family, _, argument = name.partition(":")
    return MODELS.get(family).load(argument, options)
