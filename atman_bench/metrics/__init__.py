"""Metrics: one file each, named as users name them."""

from pathlib import Path

from atman_bench.core.registry import Registry
from atman_bench.metrics._base import MetricSpec

METRICS: Registry[MetricSpec] = Registry("metric", __name__, Path(__file__).parent)

CHOSEN_BY = "average_precision"
"""The metric that sweeps choose the best point by: the paper does not say which one it used."""
