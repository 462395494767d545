"""Floors: baselines that see neither model nor target. A method has to score higher than these. One file each."""

from pathlib import Path
from typing import TYPE_CHECKING

from atman_bench.core.plugins import Group
from atman_bench.core.registry import Registry

if TYPE_CHECKING:
    from atman_bench.methods._base import FloorSpec

_HERE = Path(__file__).parent

FLOORS: "Registry[FloorSpec]" = Registry("floor", __name__, _HERE, group=Group.FLOORS, beside=_HERE.parent)
