"""Metrics: one file each, named as users name them."""

from pathlib import Path

from atman_bench.metrics._base import MetricSpec
from atman_bench.registry import Registry

METRICS: Registry[MetricSpec] = Registry("metric", __name__, Path(__file__).parent)
