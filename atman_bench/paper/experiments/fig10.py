"""Figs 10a and 10b: AP and AR of single images."""

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import PICTURES, UNKNOWN_OF_IMAGES

SPEC = Experiment(
    title="AP and AR of single images",
    paper="Fig. 10: OpenImages, MAGMA 6B; its numbers are not given",
    unknown=UNKNOWN_OF_IMAGES,
    runs=PICTURES,
    figures=("box",),
)
