"""Metrics: one file each, named as users name them."""

from collections.abc import Iterable
from pathlib import Path

from atman_bench.core.plugins import Group
from atman_bench.core.registry import Registry
from atman_bench.metrics._base import MetricSpec

METRICS: Registry[MetricSpec] = Registry("metric", __name__, Path(__file__).parent, group=Group.METRICS)


def chosen_metrics(named: Iterable[str]) -> tuple[str, ...]:
    """The keys of the named metrics; of those that are computed by default where none is named.

    Raises:
        UnknownNameError: A metric does not exist.
    """
    specs = {name.replace("-", "_"): METRICS.get(name) for name in named}
    return tuple(specs) or tuple(name for name, spec in METRICS.items() if spec.by_default)


CHOSEN_BY = "average_precision"
"""The metric that sweeps choose the best point by: the paper does not say which one it used."""
