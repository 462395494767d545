"""Explanation methods: one file each, named as users name them. Baselines that see no model are in ``floors``."""

from pathlib import Path
from typing import TYPE_CHECKING

from atman_bench.core.plugins import Group
from atman_bench.core.registry import Registry
from atman_bench.methods.floors import FLOORS

if TYPE_CHECKING:  # tables ask which methods are floors, and must not load torch for it
    from atman_bench.methods._base import MethodSpec

METHODS: "Registry[MethodSpec]" = Registry("method", __name__, Path(__file__).parent, (FLOORS,), Group.METHODS)
