"""Figures: one file each, named as users name them."""

from pathlib import Path

from atman_bench.core.registry import Registry
from atman_bench.report.figures._base import FigureSpec

FIGURES: Registry[FigureSpec] = Registry("figure", __name__, Path(__file__).parent)
