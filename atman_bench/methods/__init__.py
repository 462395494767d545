"""Explanation methods: one file each, named as users name them."""

from pathlib import Path

from atman_bench.methods._base import MethodSpec
from atman_bench.registry import Registry

METHODS: Registry[MethodSpec] = Registry("method", __name__, Path(__file__).parent)
