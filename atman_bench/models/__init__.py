"""Models: one file per family; users write ``NAME`` or ``NAME:ARGUMENT`` (``tiny-text``), a hub id or a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from atman_bench.core.plugins import Group
from atman_bench.core.registry import Registry

if TYPE_CHECKING:  # names are looked up before torch is loaded
    from atman_bench.models._base import ModelSpec

MODELS: "Registry[ModelSpec]" = Registry("model", __name__, Path(__file__).parent, group=Group.MODELS)
