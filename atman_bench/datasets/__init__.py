"""Datasets: one file each, named as users name them."""

from pathlib import Path

from atman_bench.core.plugins import Group
from atman_bench.core.registry import Registry
from atman_bench.datasets._base import DatasetSpec

DATASETS: Registry[DatasetSpec] = Registry("dataset", __name__, Path(__file__).parent, group=Group.DATASETS)
