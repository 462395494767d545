"""The paper's tables and figures: one file each, named as users name them (``table1a``, ``fig11``)."""

from pathlib import Path

from atman_bench.core.registry import Registry
from atman_bench.paper.experiments._base import Experiment

EXPERIMENTS: Registry[Experiment] = Registry("experiment", __name__, Path(__file__).parent)
