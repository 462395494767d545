"""Models: one file per family; users write ``NAME`` or ``NAME:ARGUMENT`` (``tiny-text``, ``hf:ID_OR_FOLDER``)."""

from pathlib import Path

from atman_bench.core.registry import Registry
from atman_bench.models._base import ModelSpec

MODELS: Registry[ModelSpec] = Registry("model", __name__, Path(__file__).parent)
