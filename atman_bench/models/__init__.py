"""Models: one file per family; ``NAME`` or ``NAME:ARGUMENT`` is how users write one (``tiny-text``, ``hf:ID_OR_FOLDER``)."""

from pathlib import Path

from atman_bench.models._base import ModelSpec
from atman_bench.registry import Registry

MODELS: Registry[ModelSpec] = Registry("model", __name__, Path(__file__).parent)
