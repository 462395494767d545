"""The paper's tables and figures: one file each, named as users name them (``table1a``, ``fig11``)."""

from pathlib import Path

from atman_bench.experiments._base import Experiment
from atman_bench.registry import Registry

EXPERIMENTS: Registry[Experiment] = Registry("experiment", __name__, Path(__file__).parent)
